"""What both strategies that run on XLA cores share."""

import copy
import logging
import sys
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
import torch_xla
import torch_xla.core.xla_model as xm
import torch_xla.runtime as xr
from torch import nn
from torch_xla import backends

from accel_clf.core.console import log
from accel_clf.core.errors import ConfigError
from accel_clf.data.collate import Batch, Collate, GlobalBatchSampler
from accel_clf.strategies.base import CompiledGraph, OptimizerOf, Strategy, T
from accel_clf.strategies.xla.graphs import GraphTracker, count_compilations, count_reductions
from accel_clf.strategies.xla.spawn import core_lock, once

OPTIMIZER_STATE = CompiledGraph("optimizer state")
logging.getLogger("torch_xla.backends").setLevel(logging.ERROR)  # it warns of the first call as of any other


class XlaStrategyBase(Strategy):
    """One XLA core. On a CPU and on TPU v2 and v3, cores are threads of a process; elsewhere processes.

    Args:
        precision: "auto", "fp32" or "bf16".

    Attributes:
        library: that drives the cores, for the first line of the log.
        extra_graphs: that this strategy runs beside those of all.

    Raises:
        ConfigError: fp16, for which XLA's devices have no gradient scaler.
    """

    library: str
    extra_graphs: tuple[CompiledGraph, ...] = ()

    def __init__(self, precision: str) -> None:
        if precision == "fp16":
            raise ConfigError("training.precision is fp16, on XLA", "fp32 or bf16", "--training.precision bf16")
        torch.set_num_threads(1)  # a forked process has no pool of threads, and there is one of us for each core
        self.device = torch_xla.device()
        self.process, self.processes = xr.global_ordinal(), xr.world_size()
        self.layout = "bucketed"
        is_virtual = xr.device_type() == "CPU"
        self.precision = ("fp32" if is_virtual else "bf16") if precision == "auto" else precision
        why = "as set" if precision != "auto" else "no TPU" if is_virtual else "what TPUs are made for"
        core = "virtual XLA core" if is_virtual else "TPU device"
        cores = f"{self.processes} {core}{'s' if self.processes > 1 else ''}"
        self.description = f"{cores} by {self.library}, {self.precision} ({why})"
        _set_product_precision("highest" if self.precision == "fp32" else "default")
        self.compiler = self
        self.graphs = GraphTracker()
        self.steps = 0
        self._reductions_at_start = 0
        self._batch_shape: tuple[int, ...] = ()
        self._is_training, self._is_first = False, True  # of the batch, and of a step's micro-batches

    @abstractmethod
    def _prepare(self, model: nn.Module, optimizer_of: OptimizerOf) -> tuple[nn.Module, torch.optim.Optimizer]:
        """Prepare the model, which is on this core, and make its optimizer."""

    @abstractmethod
    def _load(self, batches: GlobalBatchSampler, collate: Collate) -> Iterable[Batch]:
        """Yield this core's share of the batches, on this core."""

    @abstractmethod
    def _step(self, optimizer: torch.optim.Optimizer, max_norm: float | None) -> torch.Tensor | None:
        """Reduce once, clip, step; return the gradients' norm."""

    @abstractmethod
    def _gather(self, tensor: torch.Tensor) -> torch.Tensor:
        """Gather the tensors of all cores, in rank order."""

    def seed(self, seed: int) -> None:
        xm.set_rng_state(seed, str(self.device))

    def prepare(
        self, model: nn.Module, optimizer_of: OptimizerOf, example: Batch | None = None
    ) -> tuple[nn.Module, torch.optim.Optimizer]:
        with core_lock:  # so that the host holds one copy more, not one for each core
            replica = copy.deepcopy(model).to(self.device)
        if self.precision == "bf16":
            # In matrix products only. The older way, XLA_USE_BF16, rounds the weights themselves.
            replica.forward = torch.autocast("xla", torch.bfloat16)(replica.forward)
        prepared, optimizer = self._prepare(replica, optimizer_of)
        self.check_equal(prepared)
        _make_optimizer_state(optimizer)
        self._run(OPTIMIZER_STATE)
        self._reductions_at_start = count_reductions()
        return prepared, optimizer

    def prepare_for_evaluation(self, model: nn.Module) -> nn.Module:
        return model.to(self.device)

    def reset(self) -> None:
        self.graphs.at_start, self.steps = count_compilations(), 0

    def register_graphs(self, graphs: set[CompiledGraph]) -> None:
        self.graphs.registered = graphs | {OPTIMIZER_STATE, *self.extra_graphs}
        if self.is_main and (new := len(self.pending_graphs())):
            xm.master_print(
                f"{len(self.graphs.registered)} graphs, {new} of them to compile", fd=sys.stderr, flush=True
            )

    def pending_graphs(self) -> set[CompiledGraph]:
        return self.graphs.registered - self.graphs.seen

    def counts(self) -> dict[str, int]:
        return {
            "programs_announced": len(self.graphs.registered),
            "programs_compiled": count_compilations() - self.graphs.at_start,
            "optimizer_steps": self.steps,
            "gradient_reductions": count_reductions() - self._reductions_at_start,
        }

    def make_once(self, make: Callable[[], T]) -> T:
        return once(make)

    def batches(self, batches: GlobalBatchSampler, collate: Collate) -> Iterator[Batch]:
        count = 0
        for batch in self._load(batches, collate):
            count += 1
            self._batch_shape, self._is_training = tuple(batch["input_ids"].shape), False
            yield batch
            if not self._is_training:
                self._run(CompiledGraph("evaluation", self._batch_shape))
        if count != len(batches):  # the library's loader ends early, and silently, where its thread fails
            raise RuntimeError(f"the loader gave {count} of {len(batches)} batches")

    @contextmanager
    def micro_batch(self, model: nn.Module, last: bool) -> Iterator[None]:
        self._is_training = True
        yield
        if not last:
            self._run(CompiledGraph("training", self._batch_shape, self._is_first, last))
            self._is_first = False

    def step(self, optimizer: torch.optim.Optimizer, max_norm: float | None) -> torch.Tensor | None:
        if not self._is_first:
            # torch_xla 2.9 reduces an alias of each gradient. Where a gradient has been computed already, as that of an
            # earlier micro-batch, clipping afterwards sees it as it was before: each core would clip by its own norm.
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        parameter.grad = parameter.grad.clone()
        norm = self._step(optimizer, max_norm)
        optimizer.zero_grad()
        # Now, so that reading the loss does not compile a graph of its own for it.
        self._run(CompiledGraph("training", self._batch_shape, self._is_first, True))
        self._is_first = True
        self.steps += 1
        return norm

    def gather(self, tensor: torch.Tensor) -> torch.Tensor:
        # A TPU has no collectives of 64 bits (pytorch/xla issue 1952): each number travels as its two halves.
        halves = tensor.contiguous().view(torch.int32) if tensor.dtype == torch.int64 else tensor
        gathered = self._gather(halves.to(self.device))
        self._run(CompiledGraph(f"gather {tensor.dtype}", tuple(tensor.shape)))
        return gathered.cpu().view(tensor.dtype)

    def gather_weights(self, model: nn.Module) -> dict[str, torch.Tensor]:
        return {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()} if self.is_main else {}

    def barrier(self) -> None:
        self.broadcast_flag(True)

    def close(self) -> None:
        self.barrier()

    def _loss_scale(self, rows: int) -> torch.Tensor:
        """Return the factor of this core's loss sum in a mean over `rows`, where the reduction averages over cores.

        An array of one: numbers that happen to be equal share an input of the graph, which makes it another one.
        """
        return torch.tensor([self.processes / rows]).to(self.device)

    def _run(self, graph: CompiledGraph) -> None:
        """Run what is pending, which makes this graph."""
        torch_xla.sync()
        warning = self.graphs.track(graph)
        if warning and self.is_main:
            log(f"warning: {warning}")


def _set_product_precision(level: str) -> None:
    """Set how a TPU multiplies 32-bit numbers: "default" in one pass of bf16, "highest" in six, which is fp32.

    It is a part of the graphs that this process traces from now on.
    """
    if backends.get_mat_mul_precision() != level:
        backends.set_mat_mul_precision(level)


def _make_optimizer_state(optimizer: torch.optim.Optimizer) -> None:
    """Make AdamW's state, which it would make in its first step, and so in a graph that no other step could use."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            optimizer.state[parameter] = {
                "step": torch.tensor(0.0),  # on the host, where its powers are computed in double precision
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }
