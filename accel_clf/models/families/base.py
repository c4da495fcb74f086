"""What the record of a family says."""

from abc import ABC, abstractmethod
from enum import StrEnum
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


class GatedLayer(NamedTuple):
    """The parts of a prenorm layer with rotary positions and a gated feed-forward; each is called, and never read.

    Attributes:
        attention_norm: what attention's input goes through; nothing is added to its output.
        projections: one linear layer that makes queries, keys and values, or one for each of them.
        query_norm, key_norm: of each head; None where there are none.
        heads, key_heads: how many; query heads share those of keys and values in groups.
        scaling: of the scores.
        reach: how many tokens a token sees to either side at most; None for all.
        is_causal: whether it sees none of those that follow it.
        attention_dropout: the rate of attention's weights.
        out, out_dropout: what attention's output goes through before the layer's input is added.
        norm: what the feed-forward's input goes through.
        up: one linear layer that makes what is activated and its gate, in this order, or one for each of them.
        activation: its function.
        dropout: of the gated values.
        down: the feed-forward's last linear layer.
    """

    attention_norm: nn.Module
    projections: tuple[nn.Module, ...]
    query_norm: nn.Module | None
    key_norm: nn.Module | None
    heads: int
    key_heads: int
    scaling: float
    reach: int | None
    is_causal: bool
    attention_dropout: float
    out: nn.Module
    out_dropout: nn.Module | None
    norm: nn.Module
    up: tuple[nn.Module, ...]
    activation: nn.Module
    dropout: nn.Module | None
    down: nn.Module


class Pooling(StrEnum):
    """Which of a document's tokens its head reads."""

    FIRST = "first"
    LAST = "last"
    MEAN = "mean"
    ACTIVATED_MEAN = "activated mean"  # of what the head makes of each


class Family(ABC):
    """The parts of an encoder, whatever its family calls them.

    Attributes:
        layouts: the packed ones that there are kernels for.
    """

    layouts: tuple[str, ...] = ("packed",)

    @abstractmethod
    def layers(self, model: nn.Module) -> nn.ModuleList:
        """Return the layers of a model with a head."""


class PostNormFamily(Family):
    """Layers like BERT's: the input is added to attention's output and to the feed-forward's, before their norms."""

    layouts = ("packed", "varlen")

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


class GatedFamily(Family):
    """Prenorm layers with rotary positions and a gated feed-forward."""

    @abstractmethod
    def parts(self, layer: Any) -> GatedLayer:
        """Return a layer's parts, as they are now: adapters and others may replace them."""

    @abstractmethod
    def final_norm(self, model: nn.Module) -> nn.Module:
        """Return the norm of the last layer's output."""

    @abstractmethod
    def pooling(self, config: Any) -> Pooling:
        """Return which of a document's tokens a model's head reads, by its configuration."""
