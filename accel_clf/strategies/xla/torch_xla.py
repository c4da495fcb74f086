"""Training by raw torch_xla: the TPU recipe of the documents, step by step, in the calls of torch_xla 2.9.

What the recipe leaves to chance is settled here: no validation row is dropped, nor the last training rows.
"""

import sys
import time
from collections.abc import Iterator

import torch
import torch_xla.core.xla_model as xm
import torch_xla.distributed.parallel_loader as pl
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler

from accel_clf.data.collate import Batch, BatchSlot, Collate, GlobalBatchSampler
from accel_clf.strategies.base import OptimizerOf
from accel_clf.strategies.xla.base import XlaStrategyBase

BATCHES_PER_RATE = 50


class _Slots(Dataset[BatchSlot]):
    """All slots of the global batches, one after another."""

    def __init__(self, batches: GlobalBatchSampler) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return int(self.batches.rows.size)

    def __getitem__(self, index: int) -> BatchSlot:
        return self.batches.slot(index)


class XlaStrategy(XlaStrategyBase):
    """One core under raw torch_xla."""

    library = "raw torch_xla"

    def _prepare(self, model: nn.Module, optimizer_of: OptimizerOf) -> tuple[nn.Module, torch.optim.Optimizer]:
        # MpModelWrapper and .to(device): the weights were loaded once, before the cores started, and `prepare` has
        # moved a copy. The wrapper itself would move one module for all cores of a process.
        torch.set_default_dtype(torch.float32)
        return model, optimizer_of(model)

    def _load(self, batches: GlobalBatchSampler, collate: Collate) -> Iterator[Batch]:
        slots = _Slots(batches)
        # DistributedSampler, replicas = world size, rank = ordinal, for training and for validation. The order is
        # data.sampling's, so it does not shuffle; its k-th slots on all cores together are the k-th global batch.
        sampler: DistributedSampler[BatchSlot] = DistributedSampler(
            slots, num_replicas=self.processes, rank=self.process, shuffle=False, drop_last=True
        )
        # drop_last: all shapes are equal. Nothing is dropped, since padding rows complete the last batch.
        loader: DataLoader[BatchSlot] = DataLoader(
            slots,
            batch_size=batches.batch_size // self.processes,
            sampler=sampler,
            collate_fn=collate,
            drop_last=True,
            generator=torch.Generator(),
        )
        parallel = pl.ParallelLoader(loader, [self.device])
        tracker = xm.RateTracker()
        try:
            for number, batch in enumerate(parallel.per_device_loader(self.device), start=1):
                yield batch
                tracker.add(loader.batch_size)
                if self._is_training and number % BATCHES_PER_RATE == 0:
                    print(
                        f"[xla:{self.process}] rate={tracker.rate():.2f} global_rate={tracker.global_rate():.2f} "
                        f"time={time.asctime()}",
                        file=sys.stderr,
                        flush=True,
                    )
        finally:
            parallel.close()

    def backward(self, loss: torch.Tensor, rows: int) -> None:
        torch.autograd.backward(loss * self._loss_scale(rows))

    def _step(self, optimizer: torch.optim.Optimizer, max_norm: float | None) -> torch.Tensor | None:
        # xm.optimizer_step in its two halves, reduce and step: clipping belongs between them.
        xm.reduce_gradients(optimizer)
        norm = None
        if max_norm is not None:
            trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            norm = nn.utils.clip_grad_norm_(trained, max_norm)
        optimizer.step()
        return norm

    def _gather(self, tensor: torch.Tensor) -> torch.Tensor:
        gathered: torch.Tensor = xm.all_gather(tensor)
        return gathered
