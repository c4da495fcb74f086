"""The rows of each optimizer step, as this process's share of tensors."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, Self

import numpy as np

from accel_clf.config.schema import Config, TargetConfig
from accel_clf.data import sampling
from accel_clf.data.collate import Batch, BatchSlot, Collate, GlobalBatchSampler, Padding, collate
from accel_clf.data.dataset import Dataset
from accel_clf.data.sampling import PADDING_ROW
from accel_clf.data.tokenization import TokenizedDataset
from accel_clf.strategies.base import Strategy
from accel_clf.targets.objective import Objective


@dataclass(frozen=True)
class TrainingRows:
    """The rows to train on.

    Attributes:
        tokens: of each row.
        objective: their labels, and the loss.
        ids: int64 [rows], each row's index in its source, for messages.
        layout: "padded", "bucketed", "packed" or "varlen".
        padding: of the model's rows.
    """

    tokens: TokenizedDataset
    objective: Objective
    ids: np.ndarray
    layout: str
    padding: Padding

    @classmethod
    def of(cls, tokens: TokenizedDataset, rows: Dataset, settings: TargetConfig, layout: str, padding: Padding) -> Self:
        """Take the labels of rows, and the loss that settings ask for."""
        return cls(tokens, rows.target.objective(settings, rows.labels), rows.ids, layout, padding)


def labelled_collate(rows: TrainingRows, max_length: int) -> Collate:
    """Make the function that turns slots into tensors, labels among them."""
    labels, padding_label = rows.objective.labels, rows.objective.padding_label
    return collate(rows.tokens, rows.padding, rows.layout, max_length, labels, padding_label)


class Step(NamedTuple):
    """What an optimizer step is computed from.

    Attributes:
        epoch: from 0.
        slots: int64 [micro-batches, slots], the rows of all processes, PADDING_ROW where there is none.
        rows: how many rows these are.
        share: this process's part of each micro-batch.
    """

    epoch: int
    slots: np.ndarray
    rows: int
    share: Iterable[Batch]


def example_batch(rows: TrainingRows, config: Config) -> Batch:
    """Make a batch of the longest row and, where the batch size allows two, the shortest."""
    lengths = rows.tokens.lengths
    extremes = [int(lengths.argmin()), int(lengths.argmax())][-config.batch.size :]
    slots = [BatchSlot(row, None) for row in extremes]
    return labelled_collate(rows, config.data.max_length)(slots)


def count_steps_per_epoch(rows: TrainingRows, config: Config, processes: int) -> int:
    """Count the optimizer steps of an epoch."""
    return sampling.count_steps(len(rows.ids), config.batch.rows_per_step(processes))


def epoch_batches(rows: TrainingRows, config: Config, processes: int, epoch: int, skip: int = 0) -> GlobalBatchSampler:
    """Return an epoch's micro-batches, one step's after another's, without the first `skip`."""
    order = sampling.permutation(len(rows.ids), config.training.seed, epoch)
    if config.batch.order == "length":
        rows_per_step = config.batch.rows_per_step(processes)
        order = sampling.length_grouped(order, rows.tokens.lengths, rows_per_step, config.training.seed, epoch)
    batches = sampling.global_batches(order, config.batch.size * processes)[skip:]
    return GlobalBatchSampler(batches, rows.tokens.lengths, rows.layout, config.data.max_length)


def optimizer_steps(
    rows: TrainingRows, config: Config, strategy: Strategy, first: int, steps_per_epoch: int
) -> Iterator[Step]:
    """Yield the steps from `first` on, which may be in the middle of an epoch: earlier rows are not read again."""
    accumulate = config.batch.accumulate
    to_tensors = labelled_collate(rows, config.data.max_length)
    for epoch in range(first // steps_per_epoch, config.training.epochs):
        skip = max(0, first - epoch * steps_per_epoch) * accumulate
        batches = epoch_batches(rows, config, strategy.processes, epoch, skip)
        share = iter(strategy.batches(batches, to_tensors))
        starts = range(0, len(batches), accumulate)
        counts = np.add.reduceat((batches.rows != PADDING_ROW).sum(axis=1), starts).tolist()  # at once: fast
        for start, rows_of_step in zip(starts, counts, strict=True):
            slots = batches.rows[start : start + accumulate]
            yield Step(epoch, slots, rows_of_step, islice(share, len(slots)))
