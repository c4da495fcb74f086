"""The seam between the training loop and the hardware: what a strategy must do, and what follows from that."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, TypeVar

import torch
from torch import nn

from accel_clf.config.schema import Config
from accel_clf.core import signals
from accel_clf.core.errors import Interrupted, UserError
from accel_clf.data.collate import Batch, Collate, GlobalBatchSampler


class CompiledGraph(NamedTuple):
    """What a compiler makes once and uses again.

    Attributes:
        kind: "training", "evaluation", "gather" and a type, "moments" or "broadcast".
        shape: of the batch, or of what is gathered.
        first, last: which of a step's micro-batches it is for.
    """

    kind: str
    shape: tuple[int, ...] = ()
    first: bool = True
    last: bool = True

    def __str__(self) -> str:
        place = {(True, True): "", (True, False): ", first", (False, True): ", last", (False, False): ", inner"}
        return f"{self.kind} {list(self.shape) or ''}{place[self.first, self.last]}"


Made = TypeVar("Made")


OptimizerOf = Callable[[nn.Module], torch.optim.Optimizer]  # of the model once it is on the device


class Strategy(ABC):
    """One process's hold on the hardware.

    Attributes:
        device: where this process computes.
        process, processes: which one of how many this is.
        layout: what suits the device when the setting is "auto": "packed", "padded" or "bucketed".
        chosen: what was chosen for this machine, and why, for the first line of the log.
        sharded: whether each process holds a part of the weights only.
    """

    device: torch.device
    process: int
    processes: int
    layout: str
    chosen: str
    sharded = False

    @property
    def is_main(self) -> bool:
        return self.process == 0

    def layout_for(self, config: Config) -> str:
        """The layout that a job's batches should have; packing.prepare knows whether its model can take it."""
        return self.layout if config.batch.layout == "auto" else config.batch.layout

    @abstractmethod
    def seed(self, seed: int) -> None:
        """Seed this process's generator of dropout."""

    @abstractmethod
    def prepare(self, model: nn.Module, optimizer_of: OptimizerOf) -> tuple[nn.Module, torch.optim.Optimizer]:
        """The model on the device, with equal weights on all processes, and its optimizer.

        Raises:
            UserError: the weights are not equal.
        """

    @abstractmethod
    def prepare_for_evaluation(self, model: nn.Module) -> nn.Module:
        """Put a model that is not trained on the device."""

    @abstractmethod
    def batches(self, batches: GlobalBatchSampler, collate: Collate) -> Iterable[Batch]:
        """Each batch's share of this process, as tensors on the device."""

    @abstractmethod
    def micro_batch(self, model: nn.Module, last: bool) -> AbstractContextManager[None]:
        """Around forward and backward of a micro-batch: gradients are reduced after the step's last one only."""

    @abstractmethod
    def backward(self, loss: torch.Tensor, rows: int) -> None:
        """Add the gradients of `loss` / `rows`: a sum over this micro-batch, of a mean over the whole step's rows."""

    @abstractmethod
    def step(self, optimizer: torch.optim.Optimizer, max_norm: float | None) -> torch.Tensor | None:
        """Shorten the reduced gradients to `max_norm`, step, clear them; their norm before that, where it is known."""

    @abstractmethod
    def gather(self, tensor: torch.Tensor) -> torch.Tensor:
        """The host's tensors [N, ...] of all processes, in their order: [processes * N, ...], on all hosts."""

    @abstractmethod
    def gather_weights(self, model: nn.Module) -> dict[str, torch.Tensor]:
        """A copy of the whole model's weights on the host; called on all processes, complete on the first."""

    def gather_optimizer_state(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
        """What the optimizer knows of each weight, on the host, as "weight.key"; complete on the first process."""
        if not self.is_main:
            return {}
        names = parameter_names(model)
        return {
            f"{names[parameter]}.{key}": torch.as_tensor(value).detach().to("cpu", copy=True)
            for parameter, moments in optimizer.state.items()
            for key, value in moments.items()
        }

    def restore(self, model: nn.Module, optimizer: torch.optim.Optimizer, moments: dict[str, torch.Tensor]) -> None:
        """Give a prepared optimizer what `gather_optimizer_state` has kept."""
        parameters = {name: parameter for parameter, name in parameter_names(model).items()}
        for full_name, value in moments.items():
            name, _, key = full_name.rpartition(".")
            parameter = parameters[name]
            # A fused kernel counts steps on the device.
            place = parameter.device if key != "step" or optimizer.defaults.get("fused") else "cpu"
            optimizer.state[parameter][key] = value.to(place, copy=True)

    def scaler_state(self) -> dict[str, Any]:
        """The state of fp16's scaler; empty without one."""
        return {}

    def restore_scaler(self, state: dict[str, Any]) -> None:  # noqa: B027 - most strategies have none
        """Give fp16's scaler what `scaler_state` has kept."""

    @abstractmethod
    def barrier(self) -> None:
        """Wait until all processes are here."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the other processes."""

    def shared(self, make: Callable[[], Made]) -> Made:
        """What `make` makes: once, where several cores are threads of a process."""
        return make()

    def reset(self) -> None:  # noqa: B027 - a strategy may hold nothing of a run
        """Let go of what was prepared for a run, as if there had been none; what is compiled stays."""

    def register_graphs(self, programs: set[CompiledGraph]) -> None:  # noqa: B027 - a strategy that does not compile has nothing to say
        """Tell which programs will be compiled, where any are."""

    def missing(self) -> set[CompiledGraph]:
        """The programs announced that have not been run yet."""
        return set()

    def counts(self) -> dict[str, int]:
        """What the hardware counted during the run, for metrics.json."""
        return {}

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """The host's numbers [N], summed over all processes."""
        return self.gather(values).reshape(self.processes, -1).sum(dim=0)

    def broadcast_flag(self, yes: bool) -> bool:
        """The first process's answer, on all of them."""
        return bool(self.gather(torch.tensor([int(yes)]))[0])

    def raise_if_stopped(self) -> None:
        """Raise Interrupted on all processes, where a signal has asked one of them to stop."""
        asked = signals.stop_signal()
        if self.processes > 1:
            asked = int(self.gather(torch.tensor([asked])).max())
        if asked:
            raise Interrupted(asked)

    def check_equal(self, model: nn.Module) -> str:
        """Raise unless all processes hold the same weights, bit for bit; their digest."""
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
    """Each parameter's name in the bare model, which wrappers may have lengthened."""
    return {parameter: name.removeprefix("module.") for name, parameter in model.named_parameters()}


def weights_digest(state: dict[str, torch.Tensor]) -> bytes:
    """A digest of named weights: names, shapes and bytes."""
    digest = hashlib.blake2b()
    for name, tensor in sorted(state.items()):
        digest.update(f"{name.removeprefix('module.')} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.digest()
