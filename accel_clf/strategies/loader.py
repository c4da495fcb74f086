"""Accelerate's loader of this process's share of the global batches."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import torch
from accelerate.data_loader import prepare_data_loader
from torch.utils.data import DataLoader, Dataset

from accel_clf.data.collate import Batch, BatchSlot, Collate, GlobalBatchSampler


class _Slots(Dataset[BatchSlot]):
    """A dataset whose items are their own indices: the batch sampler says all there is to say."""

    def __getitem__(self, slot: Any) -> BatchSlot:
        item: BatchSlot = slot
        return item


def make_loader(batches: GlobalBatchSampler, collate: Collate, device: torch.device) -> Iterable[Batch]:
    """Make Accelerate's loader of this process's share, on its device."""
    loader: DataLoader[BatchSlot] = DataLoader(
        _Slots(),
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


def prefetch(batches: Iterable[Batch], count: int = 16) -> Iterator[Batch]:
    """Yield the same batches, made `count` at a time.

    Made between two steps, one takes four times as long: the step has pushed this code and its data out of the
    processor's caches (benchmarks/LOG.md).
    """
    iterator = iter(batches)
    while chunk := list(islice(iterator, count)):
        yield from chunk
