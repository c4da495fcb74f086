"""Order as a property: every row once an epoch, the same steps however they are shared out."""

from itertools import pairwise
from types import SimpleNamespace
from typing import cast

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from accel_clf.config.load import load
from accel_clf.data.collate import GlobalBatchSampler
from accel_clf.data.sampling import (
    PADDING_ROW,
    WINDOW,
    count_steps,
    global_batches,
    length_grouped,
    permutation,
    step_seed,
    token_limited_batches,
)
from accel_clf.training.batches import TrainingRows, epoch_batches


@given(st.integers(1, 500), st.integers(1, 64), st.integers(0, 9), st.integers(0, 9))
def test_every_row_once(rows: int, rows_per_step: int, seed: int, epoch: int) -> None:
    order = permutation(rows, seed, epoch)
    assert np.array_equal(np.sort(order), np.arange(rows))
    assert count_steps(rows, rows_per_step) == len(global_batches(order, rows_per_step))


@given(st.integers(1, 500), st.integers(1, 64), st.integers(0, 9), st.integers(0, 9))
def test_by_length_every_row_once(rows: int, rows_per_step: int, seed: int, epoch: int) -> None:
    lengths = np.random.default_rng(rows).integers(1, 300, rows)
    random = permutation(rows, seed, epoch)
    order = length_grouped(random, lengths, rows_per_step, seed, epoch)
    assert np.array_equal(np.sort(order), np.arange(rows))
    whole = rows - rows % rows_per_step
    assert np.array_equal(order[whole:], random[whole:])  # what has fewer rows is the last step
    if whole <= WINDOW * rows_per_step:  # one window: no step's lengths lie within another's
        steps = sorted((min(step), max(step)) for step in lengths[order[:whole]].reshape(-1, rows_per_step))
        assert all(one[1] <= other[0] for one, other in pairwise(steps))


def test_by_length_spreads_the_long_ones() -> None:
    rows, size = 40 * WINDOW, 4
    lengths = np.random.default_rng(0).integers(1, 300, rows)
    steps = lengths[length_grouped(permutation(rows, 0, 0), lengths, size, 0, 0)].reshape(-1, size)
    assert np.mean(steps.max(axis=1) - steps.min(axis=1)) < 10  # of 300
    quarters = [part.mean() for part in np.split(steps, 4)]
    assert max(quarters) - min(quarters) < 30


@given(st.integers(1, 100), st.integers(1, 40))
def test_batches_hold_the_step(rows: int, size: int) -> None:
    step = np.arange(rows) + 7
    made = global_batches(step, size)
    assert made.shape[1] == size
    flat = made.ravel()
    assert np.array_equal(flat[flat != PADDING_ROW], step)
    assert (flat == PADDING_ROW).sum() < size


@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=200), st.integers(1, 16), st.integers(1, 90), st.integers(1, 4)
)
def test_batches_within(lengths: list[int], size: int, tokens: int, processes: int) -> None:
    taken = np.array(lengths)
    found = token_limited_batches(np.argsort(-taken, kind="stable"), taken, size, tokens, processes)
    assert sorted(found[found != PADDING_ROW]) == list(range(len(lengths)))
    shares = found.reshape(-1, processes, size)
    longer = np.inf
    for batch in shares:
        counts = [(share != PADDING_ROW).sum() for share in batch]
        assert max(counts) - min(counts) <= 1, "processes have the same to do"
        for share in batch:
            own = taken[share[share != PADDING_ROW]]
            assert len(own) <= 1 or own.max() * len(own) <= tokens, "padded or not"
            assert all(own <= longer)
        longer = taken[batch[batch != PADDING_ROW]].min()


def test_steps_do_not_depend_on_how_they_are_shared() -> None:
    order = permutation(403, 0, 0)
    whole = global_batches(order, 32)
    for together, accumulate in ((32, 1), (8, 4), (16, 2)):
        made = global_batches(order, together)
        for number, step in enumerate(whole):
            shared = made[number * accumulate : (number + 1) * accumulate].ravel()
            assert list(shared[shared != PADDING_ROW]) == list(step[step != PADDING_ROW])


def test_epochs_and_seeds_differ() -> None:
    orders = {tuple(permutation(50, seed, epoch)) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25
    assert len({step_seed(0, step, process) for step in range(100) for process in range(8)}) == 800


def test_in_the_loop_it_narrows_batches_however_they_are_shared() -> None:
    lengths = np.random.default_rng(0).integers(1, 300, 1003)
    rows = SimpleNamespace(labels=lengths, tokens=SimpleNamespace(lengths=lengths), layout="bucketed")

    def made(order: str, size: int, processes: int) -> GlobalBatchSampler:
        config = load(None, {"batch": {"size": size, "order": order}, "data": {"max_length": 512}})
        return epoch_batches(cast(TrainingRows, rows), config, processes, epoch=1)

    narrow, wide = made("length", 16, 1), made("random", 16, 1)
    assert narrow.widths is not None
    assert wide.widths is not None
    assert narrow.widths.sum() < 0.7 * wide.widths.sum()
    assert np.array_equal(narrow.rows, made("length", 2, 8).rows)
