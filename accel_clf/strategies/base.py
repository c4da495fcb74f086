"""The seam between the training loop and the hardware: what a strategy must do, and what follows from that."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager

import torch
from torch import nn

from accel_clf.data.layouts import Collate, Place
from accel_clf.errors import UserError


class GlobalBatches:
    """An epoch's batches, each for all processes together, as the batch sampler of a DataLoader.

    Attributes:
        batch_size: places in each of them.
    """

    def __init__(self, batches: Iterable[list[Place]], count: int, batch_size: int) -> None:
        self.batches, self.count, self.batch_size, self.drop_last = batches, count, batch_size, False

    def __iter__(self) -> Iterator[list[Place]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return self.count


class Strategy(ABC):
    """One process's hold on the hardware.

    Attributes:
        device: where this process computes.
        process, processes: which one of how many this is.
        layout: "padded" or "bucketed", what suits the device when the setting is "auto".
        chosen: what was chosen for this machine, and why, for the first line of the log.
    """

    device: torch.device
    process: int
    processes: int
    layout: str
    chosen: str

    @property
    def is_main(self) -> bool:
        return self.process == 0

    @abstractmethod
    def seed(self, seed: int) -> None:
        """Seed this process's generator of dropout."""

    @abstractmethod
    def prepare(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[nn.Module, torch.optim.Optimizer]:
        """Put both on the device, with equal weights on all processes; raise where they are not equal."""

    @abstractmethod
    def prepare_for_evaluation(self, model: nn.Module) -> nn.Module:
        """Put a model that is not trained on the device."""

    @abstractmethod
    def batches(self, batches: GlobalBatches, collate: Collate) -> Iterable[dict[str, torch.Tensor]]:
        """Each batch's share of this process, as tensors on the device."""

    @abstractmethod
    def micro_batch(self, model: nn.Module, last: bool) -> AbstractContextManager[None]:
        """Around forward and backward of a micro-batch: gradients are reduced after the step's last one only."""

    @abstractmethod
    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradients of `loss`, this process's part of a sum over all processes."""

    @abstractmethod
    def step(self, optimizer: torch.optim.Optimizer, max_norm: float | None) -> torch.Tensor | None:
        """Shorten the reduced gradients to `max_norm`, step, clear them; their norm before that, where it is known."""

    @abstractmethod
    def gather(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensors [N, ...] of all processes, in their order: [processes * N, ...], on all of them."""

    @abstractmethod
    def host_state(self, model: nn.Module) -> dict[str, torch.Tensor]:
        """The whole model's weights on the host; called on all processes, complete on the first."""

    @abstractmethod
    def barrier(self) -> None:
        """Wait until all processes are here."""

    @abstractmethod
    def main_first(self) -> AbstractContextManager[None]:
        """Inside, the first process runs before the others, which then find what it made."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the other processes."""

    def sum(self, value: torch.Tensor) -> float:
        """The sum of a number over all processes."""
        return float(self.gather(value.reshape(1)).sum())

    def main_says(self, yes: bool) -> bool:
        """The first process's answer, on all of them."""
        return bool(self.gather(torch.tensor([int(yes)], device=self.device))[0])

    def check_equal(self, model: nn.Module) -> None:
        """Raise unless all processes hold the same weights, bit for bit."""
        digest = int.from_bytes(weights_digest(model.state_dict())[:6])
        digests = self.gather(torch.tensor([digest], device=self.device)).tolist()
        if len(set(digests)) > 1:
            raise UserError(
                f"{len(set(digests))} different models on {self.processes} processes",
                "the same weights on all of them",
                "check that all machines have the same versions and the same model files",
            )


def weights_digest(state: dict[str, torch.Tensor]) -> bytes:
    """A digest of named weights: names, shapes and bytes."""
    digest = hashlib.blake2b()
    for name, tensor in sorted(state.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.digest()
