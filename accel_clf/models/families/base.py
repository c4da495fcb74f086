"""What the record of a family says."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
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


class Family(ABC):
    """The parts of an encoder, whatever its family calls them.

    Attributes:
        repeats_layers: whether a layer can be called several times in a forward.
    """

    repeats_layers = False

    def refusal(self, config: Any, layout: str) -> str | None:
        """Say why a model of this family cannot be packed in a layout; None where it can.

        Args:
            config: the model's.
            layout: "packed" or "varlen".
        """
        return None

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


class RelativeFamily(Family):
    """An encoder whose attention goes by relative positions, in code of its own rather than transformers' functions."""

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
