"""Accelerate's loader of this process's share of the global batches."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import torch
from accelerate.data_loader import prepare_data_loader
from torch.utils.data import DataLoader, Dataset

from accel_clf.core.chunks import chunks
from accel_clf.data.collate import Batch, BatchSlot, Collate, GlobalBatchSampler

T = TypeVar("T")


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
    # split_batches: each process takes its part of every global batch, instead of every n-th batch whole. On MPS, a
    # copy that does not block reads the host's memory after it has been freed (pytorch/pytorch 189690).
    prepared: Iterable[Batch] = prepare_data_loader(
        loader, device, split_batches=True, put_on_device=True, non_blocking=device.type == "cuda"
    )
    return prepared


def prefetch(batches: Iterable[Batch], count: int = 16) -> Iterator[Batch]:
    """Yield the same batches, made `count` at a time.

    Made between two steps, one takes four times as long: the step has pushed this code and its data out of the
    processor's caches (benchmarks/LOG.md).
    """
    for chunk in chunks(batches, count):
        yield from chunk


def prefetch_to_gpu(batches: Iterable[Batch], device: torch.device, count: int = 4) -> Iterator[Batch]:
    """Yield the same batches, made and copied to a GPU beside the steps: by a thread, on a stream of its own.

    Args:
        batches: on the device, copied there without waiting, from pinned memory.
        device: the GPU.
        count: how many are made ahead.
    """
    for batch, copied in run_ahead(_copied_beside(batches, device), count):
        stream = torch.cuda.current_stream(device)
        stream.wait_event(copied)
        for value in batch.values():
            if isinstance(value, torch.Tensor):
                value.record_stream(stream)  # its memory belongs to the other stream, which may use it again
        yield batch


def _copied_beside(batches: Iterable[Batch], device: torch.device) -> Iterator[tuple[Batch, torch.cuda.Event]]:
    """Yield batches that are copied on a stream of their own, each with the event of its arrival."""
    iterator = iter(batches)
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    while True:
        with torch.cuda.stream(stream):
            batch = next(iterator, None)
            copied = stream.record_event()
        if batch is None:
            return
        yield batch, copied


def run_ahead(items: Iterable[T], count: int) -> Iterator[T]:
    """Yield the same items, made by a thread, `count` ahead; what making one raises is raised in its place."""
    iterator, end = iter(items), object()
    thread = ThreadPoolExecutor(1, thread_name_prefix="batches")
    try:
        pending = deque(thread.submit(next, iterator, end) for _ in range(count))
        while (item := pending.popleft().result()) is not end:
            pending.append(thread.submit(next, iterator, end))
            yield item  # type: ignore[misc]  # not the end
    finally:
        thread.shutdown(cancel_futures=True)
