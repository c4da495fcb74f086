"""What the record of a family says."""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
from torch import nn


class Projections(NamedTuple):
    """What a layer's attention reads hidden states with; `attention` is the module that holds them."""

    attention: Any
    query: nn.Linear
    key: nn.Linear
    value: nn.Linear


class FeedForward(NamedTuple):
    """What follows a layer's attention, in its order; the input of the whole is added before each norm."""

    out: nn.Linear
    attention_dropout: nn.Module
    attention_norm: nn.Module
    up: nn.Linear
    activation: nn.Module
    down: nn.Linear
    dropout: nn.Module
    norm: nn.Module


class Family(ABC):
    """The parts of an encoder, whatever its family calls them."""

    @abstractmethod
    def layers(self, model: nn.Module) -> nn.ModuleList:
        """Return the layers of a model with a head."""

    @abstractmethod
    def projections(self, layer: Any) -> Projections:
        """Return the linear layers of a layer's attention."""

    @abstractmethod
    def feed_forward(self, layer: Any) -> FeedForward:
        """Return what follows a layer's attention."""

    @abstractmethod
    def finish(self, layer: Any, attended: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """Compute a layer's output from its attention's and its input, dropout included.

        Args:
            layer: the layer.
            attended: the heads' outputs next to each other, [..., width].
            hidden: the layer's input at the same positions, [..., width].
        """
