"""Every row once per epoch, and the same steps for any number of processes and micro-batches."""

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
def test_epoch_has_every_row_once(rows: int, rows_per_step: int, seed: int, epoch: int) -> None:
    order = permutation(rows, seed, epoch)
    assert np.array_equal(np.sort(order), np.arange(rows))
    assert count_steps(rows, rows_per_step) == len(global_batches(order, rows_per_step))


@given(st.integers(1, 500), st.integers(1, 64), st.integers(0, 9), st.integers(0, 9))
def test_length_grouped_epoch_has_every_row_once(rows: int, rows_per_step: int, seed: int, epoch: int) -> None:
    lengths = np.random.default_rng(rows).integers(1, 300, rows)
    random = permutation(rows, seed, epoch)
    order = length_grouped(random, lengths, rows_per_step, seed, epoch)
    assert np.array_equal(np.sort(order), np.arange(rows))
    in_full_steps = rows - rows % rows_per_step
    assert np.array_equal(order[in_full_steps:], random[in_full_steps:])  # the step with fewer rows is the last
    if in_full_steps <= WINDOW * rows_per_step:  # one window: the length ranges of its steps do not overlap
        steps = sorted((min(step), max(step)) for step in lengths[order[:in_full_steps]].reshape(-1, rows_per_step))
        assert all(shorter[1] <= longer[0] for shorter, longer in pairwise(steps))


def test_length_grouping_spreads_long_rows_over_the_epoch() -> None:
    rows, size = 40 * WINDOW, 4
    lengths = np.random.default_rng(0).integers(1, 300, rows)
    steps = lengths[length_grouped(permutation(rows, 0, 0), lengths, size, 0, 0)].reshape(-1, size)
    assert np.mean(steps.max(axis=1) - steps.min(axis=1)) < 10  # of 300
    quarters = [part.mean() for part in np.split(steps, 4)]
    assert max(quarters) - min(quarters) < 30


@given(st.integers(1, 100), st.integers(1, 40))
def test_global_batches_hold_the_rows_in_order(rows: int, size: int) -> None:
    step = np.arange(rows) + 7
    batches = global_batches(step, size)
    assert batches.shape[1] == size
    flat = batches.ravel()
    assert np.array_equal(flat[flat != PADDING_ROW], step)
    assert (flat == PADDING_ROW).sum() < size


@given(
    st.lists(st.integers(1, 60), min_size=1, max_size=200), st.integers(1, 16), st.integers(1, 90), st.integers(1, 4)
)
def test_token_limited_batches_stay_within_the_limit(
    row_lengths: list[int], size: int, tokens: int, processes: int
) -> None:
    lengths = np.array(row_lengths)
    batches = token_limited_batches(np.argsort(-lengths, kind="stable"), lengths, size, tokens, processes)
    assert sorted(batches[batches != PADDING_ROW]) == list(range(len(lengths)))
    shares = batches.reshape(-1, processes, size)
    shortest_so_far = np.inf
    for batch in shares:
        counts = [(share != PADDING_ROW).sum() for share in batch]
        assert max(counts) - min(counts) <= 1, "processes have equal work"
        for share in batch:
            share_lengths = lengths[share[share != PADDING_ROW]]
            assert len(share_lengths) <= 1 or share_lengths.max() * len(share_lengths) <= tokens, "padded or not"
            assert all(share_lengths <= shortest_so_far)
        shortest_so_far = lengths[batch[batch != PADDING_ROW]].min()


def test_steps_do_not_depend_on_micro_batches() -> None:
    order = permutation(403, 0, 0)
    steps = global_batches(order, 32)
    for size, accumulate in ((32, 1), (8, 4), (16, 2)):
        batches = global_batches(order, size)
        for number, step in enumerate(steps):
            micro_batches = batches[number * accumulate : (number + 1) * accumulate].ravel()
            assert list(micro_batches[micro_batches != PADDING_ROW]) == list(step[step != PADDING_ROW])


def test_epochs_and_seeds_give_different_orders() -> None:
    orders = {tuple(permutation(50, seed, epoch)) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25
    assert len({step_seed(0, step, process) for step in range(100) for process in range(8)}) == 800


def test_length_order_narrows_batches_for_any_number_of_processes() -> None:
    lengths = np.random.default_rng(0).integers(1, 300, 1003)
    rows = SimpleNamespace(ids=lengths, tokens=SimpleNamespace(lengths=lengths), layout="bucketed")

    def batches(order: str, size: int, processes: int) -> GlobalBatchSampler:
        config = load(None, {"batch": {"size": size, "order": order}, "data": {"max_length": 512}})
        return epoch_batches(cast(TrainingRows, rows), config, processes, epoch=1)

    narrow, wide = batches("length", 16, 1), batches("random", 16, 1)
    assert narrow.widths is not None
    assert wide.widths is not None
    assert narrow.widths.sum() < 0.7 * wide.widths.sum()
    assert np.array_equal(narrow.rows, batches("length", 2, 8).rows)
