"""What a model is trained towards, by what is predicted."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import torch

Loss = Callable[["torch.Tensor", "torch.Tensor"], "torch.Tensor"]


class Rescaling(NamedTuple):
    """What a model's outputs are multiplied by, and what is added, to make the logits that scores are computed from."""

    scale: float = 1.0
    shift: float = 0.0

    def inverse(self) -> "Rescaling":
        """Return what takes this one back."""
        return Rescaling(1 / self.scale, -self.shift / self.scale)


NO_RESCALING = Rescaling()


@dataclass(frozen=True)
class Objective:
    """What a model is trained towards.

    Attributes:
        labels: of the training rows, as the loss takes them.
        padding_label: of padding rows, which the loss leaves out.
        loss: a function of outputs, float32 [rows, outputs], and labels to the loss summed over rows: a term depends on
            its own row only, so that neither accumulation nor processes change the sum.
        bias: float [outputs], that a new head begins with; None for the model's own.
        rescaling: of the trained model's outputs.
    """

    labels: np.ndarray
    padding_label: float
    loss: Loss
    bias: np.ndarray | None = None
    rescaling: Rescaling = NO_RESCALING
