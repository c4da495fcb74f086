"""The last layer at each document's first token, which is all that a classification head reads."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from accel_clf.models.families.base import PositionTerms, PostNormFamily, Projections
from accel_clf.models.families.registry import family_of
from accel_clf.models.lora import weight_of


class FirstTokenLayer:
    """A layer's forward at each document's first token: [1, tokens, width] to [documents, 1, width].

    Args:
        layer: the last one of an encoder.
        family: the encoder's.
    """

    def __init__(self, layer: Any, family: PostNormFamily) -> None:
        self.layer, self.family = layer, family

    def compute(
        self, hidden: torch.Tensor, lengths: Sequence[int], starts: torch.Tensor, terms: PositionTerms | None = None
    ) -> torch.Tensor:
        """Compute the layer's output at first tokens, whose scores may have terms of positions."""
        first = hidden[:, starts]
        projections = self.family.projections(self.layer)
        query = projections.query(first)
        # In bf16 a CPU makes and keeps a kernel for each shape: few in training, but a server's memory would grow.
        dtype = query.dtype if torch.is_grad_enabled() else torch.float32
        with torch.autocast(hidden.device.type, enabled=False):
            if terms is not None:
                terms = terms.to(dtype)
            attended = cls_attention(projections, hidden.to(dtype), query.to(dtype), lengths, starts, terms)
        # Transposed before, since FSDP warns of a layer that returns a view.
        return self.family.finish(self.layer, attended.to(query.dtype).transpose(0, 1), first.transpose(0, 1))


class ClsOnlyLayer(FirstTokenLayer):
    """The last layer of an encoder whose positions are embedded."""

    def __call__(
        self, hidden: torch.Tensor, *_: Any, lengths: Sequence[int], starts: torch.Tensor, **__: Any
    ) -> torch.Tensor:
        return self.compute(hidden, lengths, starts)


def cls_attention(
    layer: Projections,
    hidden: torch.Tensor,
    query: torch.Tensor,
    lengths: Sequence[int],
    starts: torch.Tensor,
    terms: PositionTerms | None = None,
) -> torch.Tensor:
    """Let each document's first token attend to its document: [1, documents, width].

    With one query per document, no token needs a key or a value of its own: q (K h + b) = (q K) h + q b, and a mean of
    V h + b is V and b applied to the mean of h. What remains are two small products over a grid of documents.

    Args:
        layer: the projections.
        hidden: the layer's input, [1, tokens, width].
        query: of the first tokens, [1, documents, width], of the same dtype.
        lengths: tokens of each document.
        starts: each document's first position among the tokens, int64 [documents].
        terms: of positions, of a first token with all others; None where scores have none.
    """
    size, tokens = layer.attention.attention_head_size, hidden.shape[1]
    query = query[0].view(len(lengths), -1, size).transpose(0, 1)  # [heads, documents, size]
    keys, keys_bias, values, values_bias = (
        parameter.to(query.dtype).view(-1, size, *parameter.shape[1:])  # [heads, size, width], [heads, size]
        for linear in (layer.key, layer.value)
        for parameter in (weight_of(linear), linear.bias)
    )
    counts = torch.nn.functional.pad(starts[1:], (0, 1), value=tokens) - starts
    document = torch.repeat_interleave(counts, output_size=tokens)
    positions = torch.arange(tokens, device=hidden.device)
    longest = max(lengths)
    states = hidden[0]
    grid = states.new_zeros(len(lengths), longest, states.shape[1]).index_put(
        (document, positions - starts[document]), states
    )
    scores = torch.bmm(torch.bmm(query, keys).transpose(0, 1), grid.transpose(1, 2))  # [documents, heads, longest]
    scores = (scores + (query * keys_bias[:, None]).sum(dim=-1).t()[..., None]) * layer.attention.scaling
    if terms is not None:
        scores = scores + position_scores(terms, query, grid, keys, keys_bias, layer.attention.scaling)
    is_beyond = positions[:longest] >= counts[:, None, None]
    weights = torch.softmax(scores.masked_fill(is_beyond, float("-inf")), dim=-1)
    weights = layer.attention.dropout(weights)
    mean = torch.bmm(weights, grid).transpose(0, 1)  # [heads, documents, width]
    attended: torch.Tensor = (
        torch.bmm(mean, values.transpose(1, 2)) + weights.sum(dim=-1).t()[..., None] * values_bias[:, None]
    )
    return attended.transpose(0, 1).flatten(1)[None]


def position_scores(
    terms: PositionTerms,
    query: torch.Tensor,
    grid: torch.Tensor,
    keys: torch.Tensor,
    keys_bias: torch.Tensor,
    scaling: float,
) -> torch.Tensor | float:
    """Compute what scores get for positions: [documents, heads, longest], or 0 without any terms.

    Here, too, no token needs a key: p (K h + b) = (p K) h + p b, and documents have the products p K in common.

    Args:
        terms: of a first token with all others.
        query: [heads, documents, size].
        grid: hidden states, [documents, longest, width].
        keys: the projection's weight, [heads, size, width].
        keys_bias: its bias, [heads, size].
        scaling: of the scores.
    """
    scores: torch.Tensor | float = 0.0
    if terms.key is not None:
        scores = torch.bmm(query, terms.key.transpose(1, 2)).transpose(0, 1) * scaling
    if terms.query is not None:
        products = torch.bmm(terms.query, keys).permute(1, 2, 0)  # [longest, width, heads]
        of_tokens = torch.bmm(grid.transpose(0, 1), products).permute(1, 2, 0)
        scores = scores + (of_tokens + (terms.query * keys_bias[:, None]).sum(dim=-1)) * scaling
    if terms.bias is not None:
        scores = scores + terms.bias
    return scores


def directly_read_linears(model: nn.Module) -> tuple[nn.Module, ...]:
    """Return the linear layers whose weights are read and that are never called: nothing may replace them."""
    family = family_of(model)
    if family is None:
        return ()
    last = family.layers(model)[-1]
    return family.projections(last)[2:] if isinstance(last.forward, FirstTokenLayer) else ()
