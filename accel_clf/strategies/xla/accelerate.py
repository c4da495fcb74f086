"""Training by Accelerate on XLA cores, around what accelerate 1.15 is known to get wrong there.

Its loader loses the end of an epoch and its `gather_for_metrics` the repeated rows: `training` counts batches and
`inference.forward` rows by itself. Its optimizer reduces at every call: it is called once per step. Its bf16 rounds the
weights: `base` autocasts instead. It starts each core with weights of its own: here they are broadcast and compared.
It empties the environment for a moment while it is created, where other threads read it: some cores would take
themselves for a TPU's, some runs would end in a crash. So one core at a time creates it, while all others wait. Its
`free_memory` sets a variable for a moment, too, and is not called.
"""

from collections.abc import Iterable

import torch
import torch_xla.core.xla_model as xm
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn

from accel_clf.data.collate import Batch, Collate, GlobalBatchSampler
from accel_clf.strategies.base import CompiledGraph, OptimizerOf
from accel_clf.strategies.loader import make_loader
from accel_clf.strategies.xla.base import XlaStrategyBase
from accel_clf.strategies.xla.spawn import in_turn

BROADCAST = CompiledGraph("broadcast")


class AccelerateXlaStrategy(XlaStrategyBase):
    """One core under an Accelerator."""

    library = "Accelerate"

    def __init__(self, precision: str) -> None:
        super().__init__(precision)
        self.extra_graphs = (BROADCAST,) if self.processes > 1 else ()
        AcceleratorState._reset_state(reset_partial_state=True)
        self.accelerator = in_turn(lambda: Accelerator(mixed_precision="no"))
        assert self.accelerator.num_processes == self.processes

    def _prepare(self, model: nn.Module, optimizer_of: OptimizerOf) -> tuple[nn.Module, torch.optim.Optimizer]:
        # It keeps all that it was given, and reduces the gradients of the first optimizer, which an earlier run had.
        self.accelerator._models.clear()
        self.accelerator._optimizers.clear()
        if self.processes > 1:
            xm.collective_broadcast(list(model.parameters()))  # buffers are constants, and some are int64
            self._run(BROADCAST)
        prepared, optimizer = self.accelerator.prepare(model, optimizer_of(model))
        self.parameters = list(prepared.parameters())
        return prepared, optimizer

    def _load(self, batches: GlobalBatchSampler, collate: Collate) -> Iterable[Batch]:
        return make_loader(batches, collate, self.device)

    def backward(self, loss: torch.Tensor, rows: int) -> None:
        self.accelerator.backward(loss * self._loss_scale(rows))

    def _step(self, optimizer: torch.optim.Optimizer, max_norm: float | None) -> torch.Tensor | None:
        # Both reduce, unless it has been done in this step.
        norm: torch.Tensor | None = None
        if max_norm is not None:
            norm = self.accelerator.clip_grad_norm_(self.parameters, max_norm)
        optimizer.step()
        return norm

    def _gather(self, tensor: torch.Tensor) -> torch.Tensor:
        gathered: torch.Tensor = self.accelerator.gather(tensor)
        return gathered
