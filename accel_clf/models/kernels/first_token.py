"""The last layer at each document's first token, which is all that a head reads."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from accel_clf.models.families import Projections, can_pack, is_distilberts, projections_of, stack_of


def read_as_they_are(model: nn.Module) -> tuple[nn.Module, ...]:
    """Linear layers of a model that are never called, since their weights are read: nothing may replace them."""
    if not can_pack(model):
        return ()
    last = stack_of(model).layer[-1]
    return projections_of(last)[2:] if isinstance(last.forward, ClsOnlyLayer) else ()


class ClsOnlyLayer:
    """A layer's answers at each document's first token: [1, tokens, width] to [documents, 1, width]."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def __call__(
        self, hidden: torch.Tensor, *_: Any, lengths: Sequence[int], starts: torch.Tensor, **__: Any
    ) -> torch.Tensor:
        layer, first = self.layer, hidden[:, starts]
        projections = projections_of(layer)
        asked = projections.query(first)
        # By bf16 a CPU makes and keeps a kernel for each shape: few in training, but a server's memory would grow.
        kind = asked.dtype if torch.is_grad_enabled() else torch.float32
        with torch.autocast(hidden.device.type, enabled=False):
            read = cls_attention(projections, hidden.to(kind), asked.to(kind), lengths, starts).to(asked.dtype)
        if is_distilberts(layer):
            attended = layer.sa_layer_norm(layer.attention.out_lin(read) + first)
            answered: torch.Tensor = layer.output_layer_norm(layer.ffn(attended) + attended)
        else:
            answered = layer.feed_forward_chunk(layer.attention.output(read, first))
        return answered.transpose(0, 1)


def cls_attention(
    layer: Projections, hidden: torch.Tensor, asked: torch.Tensor, lengths: Sequence[int], starts: torch.Tensor
) -> torch.Tensor:
    """What first tokens, by their queries [1, documents, width], take from their own documents' tokens.

    Of one type, as is what it returns: [1, documents, width].

    With one query a document, no token needs a key or a value of its own: q (K h + b) = (q K) h + q b, and a mean of
    V h + b is V and b applied to the mean of h. What is left are two small products, of documents below each other.
    """
    size, tokens = layer.attention.attention_head_size, hidden.shape[1]
    asked = asked[0].view(len(lengths), -1, size).transpose(0, 1)  # [heads, documents, size]
    keys, keys_bias, values, values_bias = (
        parameter.to(asked.dtype).view(-1, size, *parameter.shape[1:])  # [heads, size, width], [heads, size]
        for linear in (layer.key, layer.value)
        for parameter in (linear.weight, linear.bias)
    )
    counts = torch.nn.functional.pad(starts[1:], (0, 1), value=tokens) - starts
    document = torch.repeat_interleave(counts, output_size=tokens)
    places = torch.arange(tokens, device=hidden.device)
    longest = max(lengths)
    states = hidden[0]
    grid = states.new_zeros(len(lengths), longest, states.shape[1]).index_put(
        (document, places - starts[document]), states
    )
    scores = torch.bmm(torch.bmm(asked, keys).transpose(0, 1), grid.transpose(1, 2))  # [documents, heads, longest]
    scores = (scores + (asked * keys_bias[:, None]).sum(dim=-1).t()[..., None]) * layer.attention.scaling
    beyond = places[:longest] >= counts[:, None, None]
    weights = torch.softmax(scores.masked_fill(beyond, float("-inf")), dim=-1)
    weights = layer.attention.dropout(weights)
    mean = torch.bmm(weights, grid).transpose(0, 1)  # [heads, documents, width]
    taken: torch.Tensor = (
        torch.bmm(mean, values.transpose(1, 2)) + weights.sum(dim=-1).t()[..., None] * values_bias[:, None]
    )
    return taken.transpose(0, 1).flatten(1)[None]
