"""The rows of each optimizer step, as this process's share of tensors."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np

from accel_clf.config.schema import Config
from accel_clf.data import sampling
from accel_clf.data.collate import Batch, GlobalBatchSampler, collate
from accel_clf.data.sampling import PADDING_ROW
from accel_clf.data.tokenization import TokenizedDataset
from accel_clf.strategies.base import Strategy


@dataclass(frozen=True)
class TrainingRows:
    """What is learned from.

    Attributes:
        tokens: of each row.
        labels: int [rows].
        ids: int64 [rows], each row's place in its source, for messages.
        layout: "padded", "bucketed" or "packed".
        pad_id: the tokenizer's padding token.
    """

    tokens: TokenizedDataset
    labels: np.ndarray
    ids: np.ndarray
    layout: str
    pad_id: int


def epoch_batches(rows: TrainingRows, config: Config, processes: int, epoch: int, done: int = 0) -> GlobalBatchSampler:
    """An epoch's micro-batches, one step's after another's, without the first `done`."""
    epoch_order = sampling.permutation(len(rows.labels), config.training.seed, epoch)
    if config.batch.order == "length":
        together = config.batch.rows_per_step(processes)
        epoch_order = sampling.length_grouped(epoch_order, rows.tokens.lengths, together, config.training.seed, epoch)
    batches = sampling.global_batches(epoch_order, config.batch.size * processes)[done:]
    return GlobalBatchSampler(batches, rows.tokens.lengths, rows.layout, config.data.max_length)


class _Step(NamedTuple):
    """What an optimizer step is made from.

    Attributes:
        epoch: from 0.
        places: int64 [micro-batches, places], the rows of all processes, with fillers.
        rows: how many these are without fillers.
        share: this process's part of each.
    """

    epoch: int
    places: np.ndarray
    rows: int
    share: Iterable[Batch]


def _steps(rows: TrainingRows, config: Config, strategy: Strategy, first: int, steps_per_epoch: int) -> Iterator[_Step]:
    """The steps from `first` on, which may lie in the middle of an epoch: what was before is not read again."""
    accumulate = config.batch.accumulate
    tensors = collate(rows.tokens, rows.labels, rows.pad_id, rows.layout)
    for epoch in range(first // steps_per_epoch, config.training.epochs):
        done = max(0, first - epoch * steps_per_epoch) * accumulate
        batches = epoch_batches(rows, config, strategy.processes, epoch, done)
        share = iter(strategy.batches(batches, tensors))
        starts = range(0, len(batches), accumulate)
        counts = np.add.reduceat((batches.rows != PADDING_ROW).sum(axis=1), starts).tolist()  # at once: fast
        for start, rows_of_step in zip(starts, counts, strict=True):
            places = batches.rows[start : start + accumulate]
            yield _Step(epoch, places, rows_of_step, islice(share, len(places)))
