"""What the record of a family says."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import partial
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


class Heads(NamedTuple):
    """What a layer's attention does with its heads, under the names of transformers' BERT."""

    attention_head_size: int
    scaling: float
    dropout: nn.Module


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

    def obstacle(self, config: Any) -> str | None:
        """Name what a model of this family has, by its configuration, that no packed layout allows; None without."""
        return None

    @abstractmethod
    def layers(self, model: nn.Module) -> nn.ModuleList:
        """Return the layers of a model with a head."""


class PostNormFamily(Family):
    """Layers like BERT's: the input is added to attention's output and to the feed-forward's, before their norms.

    Attributes:
        repeats_layers: whether a layer can be called several times in a forward.
    """

    layouts: tuple[str, ...] = ("packed", "varlen")
    repeats_layers = False

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


class PositionTerms(NamedTuple):
    """What scores of attention get for the distance between a query and a key; None for what a model has not.

    Of all pairs of a document of n tokens, query i and key j: `key` by i - j from n - 1 down, `query` by i - j from
    1 - n up, either [heads, 2 n - 1, size]; `bias` [heads, n, n]. Of pairs with its first query only, by j: [heads, n,
    size], and `bias` [heads, n].

    Attributes:
        key: multiplied with queries.
        query: multiplied with keys.
        bias: added to scaled scores.
    """

    key: torch.Tensor | None
    query: torch.Tensor | None
    bias: torch.Tensor | None

    def to(self, dtype: torch.dtype) -> "PositionTerms":
        """Convert them."""
        return PositionTerms(*(None if term is None else term.to(dtype) for term in self))


NO_TERMS = PositionTerms(None, None, None)


class RelativeFamily(PostNormFamily):
    """An encoder whose attention goes by relative positions, in code of its own rather than transformers' functions."""

    layouts = ("packed",)

    @abstractmethod
    def embed(self, base: Any, input_ids: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor:
        """Compute the embeddings of packed tokens.

        Args:
            base: the encoder without its head.
            input_ids: [1, tokens].
            inputs: position_ids and, unless it is None, token_type_ids, of that shape.
        """

    @abstractmethod
    def positions(self, base: Any, longest: int) -> Any:
        """Compute what all layers have in common of relative positions.

        Args:
            base: the encoder without its head.
            longest: tokens of the longest document.

        Returns:
            What `terms` and `first_terms` take.
        """

    @abstractmethod
    def terms(self, layer: Any, positions: Any) -> PositionTerms:
        """Compute a layer's terms of all pairs of tokens."""

    @abstractmethod
    def first_terms(self, layer: Any, positions: Any) -> PositionTerms:
        """Compute a layer's terms of a document's first token with each of its tokens."""

    def constant_terms(self, layer: Any, base: Any) -> Callable[[Any], PositionTerms]:
        """Compute what does not depend on the batch of a layer that learns no more.

        Args:
            layer: of the encoder.
            base: the encoder without its head.

        Returns:
            `terms` as a function of positions.
        """
        return partial(self.terms, layer)


class GatedFamily(Family):
    """Prenorm layers with rotary positions and a gated feed-forward."""

    def layers(self, model: nn.Module) -> nn.ModuleList:
        base: Any = model.base_model
        layers: nn.ModuleList = base.layers
        return layers

    @abstractmethod
    def parts(self, layer: Any) -> GatedLayer:
        """Return a layer's parts, as they are now: adapters and others may replace them."""

    @abstractmethod
    def final_norm(self, model: nn.Module) -> nn.Module:
        """Return the norm of the last layer's output."""

    @abstractmethod
    def pooling(self, config: Any) -> Pooling:
        """Return which of a document's tokens a model's head reads, by its configuration."""
