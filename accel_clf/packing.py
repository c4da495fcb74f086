"""The padding-free forward of BERT's family: a batch's documents in one row of tokens, attention within each.

Embeddings, linear layers and norms take the row as it is. The last layer computes what heads read, and no more: the
answer at each document's first token. Weights, their names and what is saved stay as they are.
"""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from accel_clf.dropout import Keep
from accel_clf.model import first_position

FAMILIES = ("bert", "camembert", "distilbert", "electra", "roberta", "xlm-roberta")
PACKED = "packed"  # its name among transformers' implementations of attention


def can_pack(model: nn.Module) -> bool:
    """Whether this forward knows the model: an encoder of one of FAMILIES, in transformers' own code."""
    config: Any = model.config
    return (
        config.model_type in FAMILIES
        and type(model).__module__.startswith("transformers.models.")
        and not getattr(config, "is_decoder", False)
        and not getattr(config, "chunk_size_feed_forward", 0)
    )


def prepare(model: nn.Module, layout: str) -> str:
    """Make a model take batches of a layout; the layout that they must have: padded, if packed is none for it."""
    if layout != PACKED:
        return layout
    if not can_pack(model):
        return "padded"
    pack(model)
    return PACKED


def pack(model: nn.Module) -> None:
    """Make a model that `can_pack` take packed batches (layouts.pack) from here on, and no others."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(PACKED, _attention)
    AttentionMaskInterface.register(PACKED, lambda *_, **__: None)
    model.set_attn_implementation(PACKED)  # type: ignore[operator]
    offset = first_position(model)

    def place(_: nn.Module, args: Any, inputs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, {**inputs, "position_ids": inputs["position_ids"] + offset}

    model.register_forward_pre_hook(place, with_kwargs=True)
    base: Any = model.base_model
    stack = base.transformer if hasattr(base, "transformer") else base.encoder
    stack.layer[-1].forward = _FirstTokens(stack.layer[-1])


def _attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: None,
    *,
    lengths: Sequence[int],
    starts: torch.Tensor,
    scaling: float,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Attention within each document, in the form in which transformers asks for it.

    Args:
        query, key, value: [1, heads, tokens, size].
        lengths: tokens of each document.
        starts: of each document, int64 [documents].

    Returns:
        [1, tokens, heads, size].
    """
    if query.device.type != "cpu":
        return _attend_nested(query, key, value, lengths, starts, scaling, dropout), None
    if dropout:
        attended: torch.Tensor = _Attend.apply(  # type: ignore[no-untyped-call]
            query, key, value, lengths, scaling, dropout
        )
        return attended, None
    apart = (torch.split(tensor, lengths, dim=2) for tensor in (query, key, value))  # type: ignore[arg-type]
    found = [scaled_dot_product_attention(q, k, v, scale=scaling) for q, k, v in zip(*apart, strict=True)]
    return torch.cat(found, dim=2).transpose(1, 2), None


def _attend_nested(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    lengths: Sequence[int],
    starts: torch.Tensor,
    scaling: float,
    dropout: float,
) -> torch.Tensor:
    """By torch's nested tensors, which take the device's kernel for sequences of unequal lengths, dropout included."""
    ends = torch.nn.functional.pad(starts, (0, 1), value=query.shape[2])
    q, k, v = (
        torch.nested.nested_tensor_from_jagged(
            tensor[0].transpose(0, 1).contiguous(), ends, min_seqlen=min(lengths), max_seqlen=max(lengths)
        ).transpose(1, 2)
        for tensor in (query, key, value)
    )
    nested: Any = scaled_dot_product_attention(q, k, v, dropout_p=dropout, scale=scaling)
    attended: torch.Tensor = nested.transpose(1, 2).values()
    return attended[None]


class _Attend(torch.autograd.Function):
    """Attention with dropout on a CPU, where torch has no kernel of its own for it.

    One document after another, so that what belongs together stays in the processor's cache; gradients are written
    where they belong, without a tensor of zeros for each document.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        lengths: Sequence[int],
        scaling: float,
        dropout: float,
    ) -> torch.Tensor:
        keep = Keep(dropout)
        attended = torch.empty_like(query.transpose(1, 2))
        kept = []
        for own in _documents(lengths):
            scores = _bmm(query[0, :, own], key[0, :, own].transpose(1, 2), scaling)
            weights = torch.softmax(scores, dim=-1).to(query.dtype)  # which autocast takes in float32
            mask = keep.mask(tuple(weights.shape))
            kept += [weights, mask]
            kept_weights = mask.to(weights.dtype).mul_(weights)
            attended[0, own] = _bmm(kept_weights, value[0, :, own], keep.scale).transpose(0, 1)
        ctx.save_for_backward(query, key, value, *kept)
        ctx.lengths, ctx.scaling, ctx.scale = lengths, scaling, keep.scale
        return attended

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, *kept = ctx.saved_tensors
        of_query, of_key, of_value = (
            torch.empty_like(tensor.transpose(1, 2)).transpose(1, 2) for tensor in (query, key, value)
        )
        gradient = gradient.transpose(1, 2)
        for own, weights, mask in zip(_documents(ctx.lengths), kept[::2], kept[1::2], strict=True):
            given, mask = gradient[0, :, own], mask.to(weights.dtype)
            of_weights = _bmm(given, value[0, :, own].transpose(1, 2), ctx.scale).mul_(mask)
            of_value[0, :, own] = _bmm(mask.mul_(weights).transpose(1, 2), given, ctx.scale)
            of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype)
            of_query[0, :, own] = _bmm(of_scores, key[0, :, own], ctx.scaling)
            of_key[0, :, own] = _bmm(of_scores.transpose(1, 2), query[0, :, own], ctx.scaling)
        return of_query, of_key, of_value, None, None, None


def _documents(lengths: Sequence[int]) -> list[slice]:
    return [slice(start, end) for start, end in pairwise(accumulate(lengths, initial=0))]


def _bmm(one: torch.Tensor, other: torch.Tensor, factor: float) -> torch.Tensor:
    return torch.baddbmm(one.new_empty(()), one, other, beta=0, alpha=factor)


class _FirstTokens:
    """A layer's answers at each document's first token: [1, tokens, width] to [documents, 1, width]."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def __call__(
        self, hidden: torch.Tensor, *_: Any, lengths: Sequence[int], starts: torch.Tensor, **__: Any
    ) -> torch.Tensor:
        layer, first = self.layer, hidden[:, starts]
        if hasattr(layer, "sa_layer_norm"):  # DistilBERT's
            inner = layer.attention
            read = _read(inner, inner.q_lin, inner.k_lin, inner.v_lin, hidden, first, lengths, starts)
            attended = layer.sa_layer_norm(inner.out_lin(read) + first)
            answered: torch.Tensor = layer.output_layer_norm(layer.ffn(attended) + attended)
        else:
            inner = layer.attention.self
            read = _read(inner, inner.query, inner.key, inner.value, hidden, first, lengths, starts)
            answered = layer.feed_forward_chunk(layer.attention.output(read, first))
        return answered.transpose(0, 1)


def _read(
    attention: Any,
    query: nn.Linear,
    key: nn.Linear,
    value: nn.Linear,
    hidden: torch.Tensor,
    first: torch.Tensor,
    lengths: Sequence[int],
    starts: torch.Tensor,
) -> torch.Tensor:
    """What first tokens [1, documents, width] take from their own documents' tokens: [1, documents, width]."""
    size, tokens = attention.attention_head_size, hidden.shape[1]
    asked, keys, values = (
        linear(of)[0].unflatten(-1, (-1, size)) for linear, of in ((query, first), (key, hidden), (value, hidden))
    )
    ends = torch.nn.functional.pad(starts[1:], (0, 1), value=tokens)
    document = torch.repeat_interleave(ends - starts, output_size=tokens)
    place = torch.arange(tokens, device=hidden.device) - starts[document]
    scores = (keys * asked[document]).sum(dim=-1) * attention.scaling  # [tokens, heads]
    grid = scores.new_full((len(lengths), max(lengths), scores.shape[-1]), float("-inf"))
    weights = attention.dropout(torch.softmax(grid.index_put((document, place), scores), dim=1).to(values.dtype))
    taken = torch.zeros_like(asked).index_add(0, document, weights[document, place, :, None] * values)
    return taken.flatten(1)[None]
