"""Order as a property: every row once an epoch, the same steps however they are shared out."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from accel_clf.data.order import FILLER, batches, count_steps, permutation, step_seed


@given(st.integers(1, 500), st.integers(1, 64), st.integers(0, 9), st.integers(0, 9))
def test_every_row_once(rows: int, rows_per_step: int, seed: int, epoch: int) -> None:
    order = permutation(rows, seed, epoch)
    assert np.array_equal(np.sort(order), np.arange(rows))
    assert count_steps(rows, rows_per_step) == len(batches(order, rows_per_step))


@given(st.integers(1, 100), st.integers(1, 40))
def test_batches_hold_the_step(rows: int, size: int) -> None:
    step = np.arange(rows) + 7
    made = batches(step, size)
    assert made.shape[1] == size
    flat = made.ravel()
    assert np.array_equal(flat[flat != FILLER], step)
    assert (flat == FILLER).sum() < size


def test_steps_do_not_depend_on_how_they_are_shared() -> None:
    order = permutation(403, 0, 0)
    whole = batches(order, 32)
    for together, accumulate in ((32, 1), (8, 4), (16, 2)):
        made = batches(order, together)
        for number, step in enumerate(whole):
            shared = made[number * accumulate : (number + 1) * accumulate].ravel()
            assert list(shared[shared != FILLER]) == list(step[step != FILLER])


def test_epochs_and_seeds_differ() -> None:
    orders = {tuple(permutation(50, seed, epoch)) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25
    assert len({step_seed(0, step, process) for step in range(100) for process in range(8)}) == 800
