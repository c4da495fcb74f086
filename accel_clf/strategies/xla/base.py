"""What both strategies that run on XLA cores share."""

import copy
import sys
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch_xla
import torch_xla.core.xla_model as xm
import torch_xla.runtime as xr
from torch import nn

from accel_clf.core.console import log
from accel_clf.core.errors import ConfigError
from accel_clf.data.collate import Batch, Collate, GlobalBatchSampler
from accel_clf.strategies.base import CompiledGraph, OptimizerOf, Strategy
from accel_clf.strategies.xla.graphs import GraphTracker, _reductions, compiled
from accel_clf.strategies.xla.spawn import Result, _meeting, _one_at_a_time

_made: list[Any] = []


class XlaStrategyBase(Strategy):
    """One XLA core. On a CPU and on TPU v2 and v3, cores are threads of a process; elsewhere processes.

    Args:
        precision: "auto", "fp32" or "bf16".

    Raises:
        ConfigError: fp16, which XLA's devices do not scale for.
    """

    way: str  # to train on cores
    own_programs: tuple[CompiledGraph, ...] = ()

    def __init__(self, precision: str) -> None:
        if precision == "fp16":
            raise ConfigError("training.precision is fp16, on XLA", "fp32 or bf16", "--training.precision bf16")
        torch.set_num_threads(1)  # a forked process has no pool of threads, and there is one of us for each core
        self.device = torch_xla.device()
        self.process, self.processes = xr.global_ordinal(), xr.world_size()
        self.layout = "bucketed"
        virtual = xr.device_type() == "CPU"
        self.precision = ("fp32" if virtual else "bf16") if precision == "auto" else precision
        why = "as set" if precision != "auto" else "no TPU" if virtual else "what TPUs are made for"
        cores = f"{self.processes} {'virtual XLA' if virtual else 'TPU'} core{'s' if self.processes > 1 else ''}"
        self.chosen = f"{cores} by {self.way}, {self.precision} ({why})"
        self.programs = GraphTracker()
        self.steps = 0
        self._batch: tuple[int, ...] = ()
        self._training, self._first = False, True

    @abstractmethod
    def _prepare(self, model: nn.Module, optimizer_of: OptimizerOf) -> tuple[nn.Module, torch.optim.Optimizer]:
        """The model, which is on this core, and its optimizer."""

    @abstractmethod
    def _load(self, batches: GlobalBatchSampler, collate: Collate) -> Iterable[Batch]:
        """What this core gets of the batches, on this core."""

    @abstractmethod
    def _step(self, optimizer: torch.optim.Optimizer, max_norm: float | None) -> torch.Tensor | None:
        """Reduce once, clip, step: the gradients' norm."""

    def seed(self, seed: int) -> None:
        xm.set_rng_state(seed, str(self.device))

    def prepare(self, model: nn.Module, optimizer_of: OptimizerOf) -> tuple[nn.Module, torch.optim.Optimizer]:
        with _one_at_a_time:  # so that the host holds one copy more, not one for each core
            mine = copy.deepcopy(model).to(self.device)
        if self.precision == "bf16":
            # In matrix products only. The older way, XLA_USE_BF16, rounds the weights themselves.
            mine.forward = torch.autocast("xla", torch.bfloat16)(mine.forward)
        prepared, optimizer = self._prepare(mine, optimizer_of)
        self.check_equal(prepared)
        _make_moments(optimizer)
        self._run(CompiledGraph("moments"))
        self._reductions_before = _reductions()
        return prepared, optimizer

    def prepare_for_evaluation(self, model: nn.Module) -> nn.Module:
        return model.to(self.device)

    def shared(self, make: Callable[[], Result]) -> Result:
        meeting = _meeting()
        if meeting.wait() == 0:
            _made.append(make())
        meeting.wait()
        made: Result = _made[0]
        if meeting.wait() == 0:
            _made.clear()
        return made

    def reset(self) -> None:
        self.programs.start, self.steps = compiled(), 0

    def register_graphs(self, programs: set[CompiledGraph]) -> None:
        self.programs.announced = programs | {CompiledGraph("moments"), *self.own_programs}
        if self.is_main and (new := len(self.missing())):
            xm.master_print(
                f"{len(self.programs.announced)} programs, {new} of them to compile", fd=sys.stderr, flush=True
            )

    def missing(self) -> set[CompiledGraph]:
        return self.programs.announced - self.programs.seen

    def counts(self) -> dict[str, int]:
        return {
            "programs_announced": len(self.programs.announced),
            "programs_compiled": compiled() - self.programs.start,
            "optimizer_steps": self.steps,
            "gradient_reductions": _reductions() - self._reductions_before,
        }

    def batches(self, batches: GlobalBatchSampler, collate: Collate) -> Iterator[Batch]:
        given = 0
        for batch in self._load(batches, collate):
            given += 1
            self._batch, self._training = tuple(batch["input_ids"].shape), False
            yield batch
            if not self._training:
                self._run(CompiledGraph("evaluation", self._batch))
        if given != len(batches):  # the library's loader ends early, and in silence, where its thread fails
            raise RuntimeError(f"the loader gave {given} of {len(batches)} batches")

    @contextmanager
    def micro_batch(self, model: nn.Module, last: bool) -> Iterator[None]:
        self._training = True
        yield
        if not last:
            self._run(CompiledGraph("training", self._batch, self._first, last))
            self._first = False

    def step(self, optimizer: torch.optim.Optimizer, max_norm: float | None) -> torch.Tensor | None:
        if not self._first:
            # torch_xla 2.9 reduces an alias of each gradient. Where a gradient has been computed already, as that of an
            # earlier micro-batch, clipping afterwards sees it as it was before: each core would clip by its own norm.
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        parameter.grad = parameter.grad.clone()
        norm = self._step(optimizer, max_norm)
        optimizer.zero_grad()
        # Now, so that reading the loss does not compile a program of its own for it.
        self._run(CompiledGraph("training", self._batch, self._first, True))
        self._first = True
        self.steps += 1
        return norm

    def gather(self, tensor: torch.Tensor) -> torch.Tensor:
        gathered = self._gather(tensor.to(self.device))
        self._run(CompiledGraph(f"gather {tensor.dtype}", tuple(tensor.shape)))
        return gathered.cpu()

    @abstractmethod
    def _gather(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensors of all cores, one after another."""

    def gather_weights(self, model: nn.Module) -> dict[str, torch.Tensor]:
        return {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()} if self.is_main else {}

    def barrier(self) -> None:
        self.broadcast_flag(True)

    def close(self) -> None:
        self.barrier()

    def _share(self, rows: int) -> torch.Tensor:
        """What makes this core's sum of losses a part of the mean over `rows`, when the reduction averages over cores.

        An array of one: numbers that happen to be equal share an input of the program, which makes it another one.
        """
        return torch.tensor([self.processes / rows]).to(self.device)

    def _run(self, program: CompiledGraph) -> None:
        """Run what is pending, which makes this program."""
        torch_xla.sync()
        warning = self.programs.ran(program)
        if warning and self.is_main:
            log(f"warning: {warning}")


def _make_moments(optimizer: torch.optim.Optimizer) -> None:
    """AdamW's moments, which it would make in its first step, and so in a program that no other step could use."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            optimizer.state[parameter] = {
                "step": torch.tensor(0.0),  # on the host, where its powers are taken in double precision
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }
