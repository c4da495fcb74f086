"""Accelerate's loader of this process's share of the global batches."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import torch
from accelerate.data_loader import prepare_data_loader
from torch.utils.data import DataLoader, Dataset

from accel_clf.data.collate import Batch, BatchSlot, Collate, GlobalBatchSampler


class _Places(Dataset[BatchSlot]):
    """A data set whose items are their own indices: the batch sampler says all there is to say."""

    def __getitem__(self, place: Any) -> BatchSlot:
        item: BatchSlot = place
        return item


def make_loader(batches: GlobalBatchSampler, collate: Collate, device: torch.device) -> Iterable[Batch]:
    """Accelerate's loader of this process's share, on its device."""
    loader: DataLoader[BatchSlot] = DataLoader(
        _Places(),
        batch_sampler=batches,
        collate_fn=collate,
        generator=torch.Generator(),  # otherwise each epoch draws from the one that decides dropout
        pin_memory=device.type == "cuda",
    )
    # split_batches: each process takes its part of every global batch, instead of every n-th batch whole.
    prepared: Iterable[Batch] = prepare_data_loader(
        loader, device, split_batches=True, put_on_device=True, non_blocking=True
    )
    return prepared


def _some_at_once(batches: Iterable[Batch], many: int = 16) -> Iterator[Batch]:
    """The same batches, made `many` at a time.

    Making one between two steps takes four times as long, of which the step's own work is to blame: it has pushed this
    code and data out of the processor's caches (benchmarks/LOG.md).
    """
    coming = iter(batches)
    while some := list(islice(coming, many)):
        yield from some
