"""The seam between the training loop and the hardware: what a strategy must do, and what follows from that."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import nn

from accel_clf.config.schema import Config
from accel_clf.core import signals
from accel_clf.core.errors import ConfigError, Interrupted, UserError
from accel_clf.data.collate import Batch, Collate, GlobalBatchSampler

T = TypeVar("T")
OptimizerOf = Callable[[nn.Module], torch.optim.Optimizer]  # of the model once it is on the device


class CompiledGraph(NamedTuple):
    """What a compiler makes once and uses again.

    Attributes:
        kind: "training", "evaluation", "gather" and a dtype, "optimizer state" or "broadcast".
        shape: of the batch, or of what is gathered.
        first, last: which of a step's micro-batches it is for.
    """

    kind: str
    shape: tuple[int, ...] = ()
    first: bool = True
    last: bool = True

    def __str__(self) -> str:
        position = {(True, True): "", (True, False): ", first", (False, True): ", last", (False, False): ", inner"}
        return f"{self.kind} {list(self.shape) or ''}{position[self.first, self.last]}"


class Compiler(Protocol):
    """What a strategy offers, beside the rest, that compiles a graph for each shape; see `Strategy.compiler`."""

    def register_graphs(self, graphs: set[CompiledGraph]) -> None:
        """Announce the graphs that a run will need, so that one too many is noticed."""

    def pending_graphs(self) -> set[CompiledGraph]:
        """Return the registered graphs that have not run yet."""

    def counts(self) -> dict[str, int]:
        """Return what was counted during the run, for metrics.json."""

    def make_once(self, make: Callable[[], T]) -> T:
        """Call `make` on one of the cores that are threads of this process, and return its result on all of them."""


class Strategy(ABC):
    """One process's access to the hardware.

    Attributes:
        device: where this process computes.
        process, processes: this process's rank, and how many there are.
        layout: what suits the device where the setting is "auto": "packed", "varlen", "padded" or "bucketed".
        packed_layout: what the device takes where the setting is "packed": "packed" or "varlen".
        description: what was chosen for this machine, and why, for the first line of the log.
        sharded: whether each process holds a part of the weights only.
        compiler: what is known of compiled graphs; None where nothing is compiled.
    """

    device: torch.device
    process: int
    processes: int
    layout: str
    packed_layout = "packed"
    description: str
    sharded = False
    compiler: Compiler | None = None

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0."""
        return self.process == 0

    def layout_for(self, config: Config) -> str:
        """Return the preferred layout of a run's batches; models.kernel_selection has the last word."""
        layouts = {"auto": self.layout, "packed": self.packed_layout}
        layout = layouts.get(config.batch.layout, config.batch.layout)
        if layout == "bucketed" and config.data.windows.stride is not None:
            raise ConfigError(
                "data.windows.stride, and bucketed batches, which have as many rows each",
                "packed or padded batches, on a CPU or a GPU, or texts that are cut",
                "--data.windows.stride null",
            )
        return layout

    @abstractmethod
    def seed(self, seed: int) -> None:
        """Seed this process's generator of dropout."""

    @abstractmethod
    def prepare(
        self, model: nn.Module, optimizer_of: OptimizerOf, example: Batch | None = None
    ) -> tuple[nn.Module, torch.optim.Optimizer]:
        """Move the model to the device, with equal weights on all processes, and make its optimizer.

        Args:
            model: on the host.
            optimizer_of: makes the optimizer.
            example: a few rows, the same on all processes, that show which weights get a gradient; None: all do.

        Raises:
            UserError: the weights are not equal.
        """

    @abstractmethod
    def prepare_for_evaluation(self, model: nn.Module) -> nn.Module:
        """Move a model that is not trained to the device."""

    @abstractmethod
    def batches(self, batches: GlobalBatchSampler, collate: Collate) -> Iterable[Batch]:
        """Yield this process's share of each batch, as tensors on the device."""

    @abstractmethod
    def micro_batch(self, model: nn.Module, last: bool) -> AbstractContextManager[None]:
        """Wrap forward and backward of a micro-batch: gradients are reduced after the step's last one only."""

    @abstractmethod
    def backward(self, loss: torch.Tensor, rows: int) -> None:
        """Add the gradients of `loss` / `rows`: a sum over this micro-batch, of a mean over the whole step's rows."""

    @abstractmethod
    def step(self, optimizer: torch.optim.Optimizer, max_norm: float | None) -> torch.Tensor | None:
        """Clip the reduced gradients to `max_norm`, step, zero them; return their norm before clipping, if known."""

    @abstractmethod
    def gather(self, tensor: torch.Tensor) -> torch.Tensor:
        """Gather host tensors [N, ...] of all processes, in rank order: [processes * N, ...], on all hosts."""

    @abstractmethod
    def gather_weights(self, model: nn.Module) -> dict[str, torch.Tensor]:
        """Copy the whole model's weights to the host; called on all processes, complete on rank 0."""

    def gather_optimizer_state(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
        """Copy the optimizer's state of each weight to the host, as "weight.key"; as `gather_weights`."""
        names = parameter_names(model)
        return self.gather_to_host(
            {
                f"{names[parameter]}.{key}": torch.as_tensor(value)
                for parameter, state in optimizer.state.items()
                for key, value in state.items()
            }
        )

    def gather_to_host(self, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Copy named tensors of the device to the host; called on all processes, complete on rank 0."""
        return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()} if self.is_main else {}

    def restore_optimizer_state(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, torch.Tensor]
    ) -> None:
        """Give a prepared optimizer what `gather_optimizer_state` has returned."""
        parameters = {name: parameter for parameter, name in parameter_names(model).items()}
        for full_name, value in state.items():
            name, _, key = full_name.rpartition(".")
            parameter = parameters[name]
            # A fused kernel counts steps on the device.
            device = parameter.device if key != "step" or optimizer.defaults.get("fused") else "cpu"
            optimizer.state[parameter][key] = self.shard_like(value.to(device, copy=True), parameter)

    def shard_like(self, tensor: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
        """Return this process's part of a tensor that all have, where the parameter of its shape is sharded."""
        return tensor

    def scaler_state(self) -> dict[str, Any]:
        """Return the state of fp16's gradient scaler; empty without one."""
        return {}

    def restore_scaler(self, state: dict[str, Any]) -> None:  # noqa: B027 - most strategies have none
        """Give fp16's gradient scaler what `scaler_state` has returned."""

    @abstractmethod
    def barrier(self) -> None:
        """Wait until all processes are here."""

    @abstractmethod
    def close(self) -> None:
        """Leave the group of processes."""

    def reset(self) -> None:  # noqa: B027 - a strategy may hold nothing of a run
        """Drop what was prepared for a run, as if there had been none; compiled graphs stay."""

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Sum host tensors [N] over all processes."""
        return self.gather(values).reshape(self.processes, -1).sum(dim=0)

    def broadcast_flag(self, flag: bool) -> bool:
        """Return rank 0's flag on all processes."""
        return bool(self.gather(torch.tensor([int(flag)]))[0])

    def raise_if_stopped(self) -> None:
        """Raise Interrupted on all processes, where a signal has asked one of them to stop."""
        signal = signals.stop_signal()
        if self.processes > 1:
            signal = int(self.gather(torch.tensor([signal])).max())
        if signal:
            raise Interrupted(signal)

    def check_equal(self, model: nn.Module) -> str:
        """Raise unless all processes hold the same weights, bit for bit; return their digest."""
        digest = int.from_bytes(weights_digest(model.state_dict())[:6])
        digests = self.gather(torch.tensor([digest])).tolist()
        if len(set(digests)) > 1:
            raise UserError(
                f"{len(set(digests))} different models on {self.processes} processes",
                "the same weights on all of them",
                "check that all machines have the same versions and the same model files",
            )
        return f"{digest:012x}"


def parameter_names(model: nn.Module) -> dict[torch.Tensor, str]:
    """Return each parameter's name in the bare model, which wrappers may have prefixed."""
    return {parameter: name.removeprefix("module.") for name, parameter in model.named_parameters()}


def weights_digest(state: dict[str, torch.Tensor]) -> bytes:
    """Digest named weights: names, shapes and bytes."""
    digest = hashlib.blake2b()
    for name, tensor in sorted(state.items()):
        digest.update(f"{name.removeprefix('module.')} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.digest()
