"""What a model fails on is found, and nothing else has another answer than without it."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accel_clf.inference.failures import Failure, answer_apart, answer_others


class BatchModel:
    """Fails on negative tokens and on too many rows; its outputs depend on the shape of the batch."""

    def __init__(self, most: int = 10**6) -> None:
        self.most, self.tries, self.rows = most, 0, 0

    def __call__(self, rows: Sequence[np.ndarray]) -> np.ndarray:
        self.tries, self.rows = self.tries + 1, self.rows + len(rows)
        if len(rows) > self.most:
            raise RuntimeError("CUDA out of memory. Tried to allocate much")
        if any((row < 0).any() for row in rows):
            raise IndexError("index out of range in self")
        shape = len(rows) / 1000 + sum(map(len, rows))
        return np.array([[row.sum(), shape] for row in rows], np.float32)


def make_rows(is_bad: list[bool]) -> list[np.ndarray]:
    return [np.array([-1 if bad else 1] * (1 + number % 3)) for number, bad in enumerate(is_bad)]


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_others_have_the_bits_of_the_whole_batch(is_bad: list[bool]) -> None:
    rows = make_rows(is_bad)
    outputs, failures = answer_others(BatchModel(), rows, np.ones)
    assert [index in failures for index in range(len(rows))] == is_bad
    whole = BatchModel()([abs(row) for row in rows])
    for index, bad in enumerate(is_bad):
        assert np.isnan(outputs[index]).all() if bad else (outputs[index] == whole[index]).all()
    assert set(failures.values()) <= {Failure("IndexError: index out of range in self", True)}


@pytest.mark.parametrize("place", [0, 100, 255])
def test_one_of_many_is_found_by_halves(place: int) -> None:
    model = BatchModel()
    outputs, failures = answer_apart(model, make_rows([index == place for index in range(256)]))
    assert (list(failures), len(outputs)) == ([place], 255)
    assert model.tries <= 2 * 8
    assert model.rows <= 2 * 256


def test_batch_that_is_too_large_is_answered_in_parts() -> None:
    outputs, failures = answer_others(BatchModel(most=8), make_rows([False] * 15 + [True]), np.ones)
    assert list(failures) == [15]
    assert outputs[:15, 0].tolist() == [1.0, 2.0, 3.0] * 5


def test_model_that_fails_on_anything_is_no_texts_fault() -> None:
    with pytest.raises(RuntimeError, match="out of memory"):
        answer_others(BatchModel(most=0), make_rows([False] * 3), np.ones)


@pytest.mark.parametrize(
    ("error", "is_of_text"),
    [
        (IndexError("index out of range in self"), True),
        (ValueError("All examples must have the same number of <eos> tokens."), True),
        (RuntimeError("The size of tensor a (3)\nmust match"), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), False),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), False),
        (MemoryError(), False),
        (KeyError("x"), False),
        (AssertionError(), False),
    ],
)
def test_whose_fault_it_is(error: Exception, is_of_text: bool) -> None:
    failure = Failure.of(error)
    assert failure.is_of_text is is_of_text
    assert failure.reason.startswith(type(error).__name__)
    assert "\n" not in failure.reason
