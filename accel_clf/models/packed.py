"""The padding-free forward of BERT's family: a batch's documents in one row of tokens, attention within each.

Embeddings, linear layers and norms take the row as it is. The last layer computes what heads read, and no more: the
answer at each document's first token. Weights, their names and what is saved stay as they are.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from accel_clf.models.kernels.dropout import Keep
from accel_clf.models.loading import first_position

FAMILIES = ("bert", "camembert", "distilbert", "electra", "roberta", "xlm-roberta")
PACKED = "packed"  # its name among transformers' implementations of attention
SCORES_TOGETHER = 1 << 16  # of a head
NARROW = 64  # columns; without dropout, going from group to group takes longer than what it saves the demo's 48


def can_pack(model: nn.Module) -> bool:
    """Whether this forward knows the model: an encoder of one of FAMILIES, in transformers' own code."""
    config: Any = model.config
    return (
        config.model_type in FAMILIES
        and type(model).__module__.startswith("transformers.models.")
        and not getattr(config, "is_decoder", False)
        and not getattr(config, "chunk_size_feed_forward", 0)
    )


def prepare(model: nn.Module, layout: str, asked: bool = False) -> tuple[str, str]:
    """Make a model take batches of a layout.

    Args:
        model: changed in place.
        layout: what it should take.
        asked: whether somebody wants just that; otherwise packing must pay.

    Returns:
        The layout that it takes, which is padded where packed cannot be or does not pay, and why.
    """
    config: Any = model.config
    if layout != PACKED:
        return layout, "as set" if asked else "what suits the device"
    if not can_pack(model):
        return "padded", f"{config.model_type} is none of {', '.join(FAMILIES)}, which can be packed"
    if not asked and config.hidden_size < NARROW and not _drops(config):
        return "padded", "too small an encoder to gain by packing"
    pack(model)
    return PACKED, "as set" if asked else "no padding"


def _drops(config: Any) -> bool:
    """Whether attention has dropout, for which torch has no kernel on a CPU."""
    return bool(getattr(config, "attention_probs_dropout_prob", 0) or getattr(config, "attention_dropout", 0))


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
    last = stack_of(model).layer[-1]
    last.forward = _FirstTokens(last)


def stack_of(model: nn.Module) -> Any:
    """What holds a model's layers."""
    base: Any = model.base_model
    return base.transformer if hasattr(base, "transformer") else base.encoder


def _attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: None,
    *,
    lengths: tuple[int, ...],
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
    groups, heads, size = groups_of(lengths), query.shape[1], query.shape[3]
    sizes = [documents.stop - documents.start for documents, _ in groups]
    apart = (torch.split(tensor[0], sizes, dim=1) for tensor in (query, key, value))
    found = []
    for (_, count), *group in zip(groups, *apart, strict=True):
        q, k, v = (tensor.view(heads, count, -1, size).transpose(0, 1) for tensor in group)
        found.append(scaled_dot_product_attention(q, k, v, scale=scaling).transpose(1, 2).flatten(0, 1))
    return torch.cat(found)[None], None


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

    One group of documents after another, so that what belongs together stays in the processor's cache; gradients are
    written where they belong, without a tensor of zeros for each.
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
        keep, groups = Keep(dropout), groups_of(lengths)
        attended = torch.empty_like(query.transpose(1, 2))
        kept = []
        for group in groups:
            scores = _bmm(_of(query, *group), _of(key, *group).transpose(1, 2), scaling)
            weights = torch.softmax(scores, dim=-1).to(query.dtype)  # which autocast takes in float32
            mask = keep.mask(tuple(weights.shape))
            kept += [weights, mask]
            kept_weights = mask.to(weights.dtype).mul_(weights)
            _put(attended.transpose(1, 2), *group, _bmm(kept_weights, _of(value, *group), keep.scale))
        ctx.save_for_backward(query, key, value, *kept)
        ctx.groups, ctx.scaling, ctx.scale = groups, scaling, keep.scale
        return attended

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, *kept = ctx.saved_tensors
        groups: list[tuple[slice, int]] = ctx.groups
        of_query, of_key, of_value = (
            torch.empty_like(tensor.transpose(1, 2)).transpose(1, 2) for tensor in (query, key, value)
        )
        gradient = gradient.transpose(1, 2)
        for group, weights, mask in zip(groups, kept[::2], kept[1::2], strict=True):
            given, mask = _of(gradient, *group), mask.to(weights.dtype)
            of_weights = _bmm(given, _of(value, *group).transpose(1, 2), ctx.scale).mul_(mask)
            _put(of_value, *group, _bmm(mask.mul_(weights).transpose(1, 2), given, ctx.scale))
            of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype)
            _put(of_query, *group, _bmm(of_scores, _of(key, *group), ctx.scaling))
            _put(of_key, *group, _bmm(of_scores.transpose(1, 2), _of(query, *group), ctx.scaling))
        return of_query, of_key, of_value, None, None, None


@lru_cache(maxsize=4)  # all layers of a batch ask
def groups_of(lengths: tuple[int, ...]) -> list[tuple[slice, int]]:
    """Neighbours of one length, as many as fit a processor's cache: their tokens, and how many they are."""
    found, start = [], 0
    for length, same in groupby(lengths):
        left, most = len(list(same)), max(1, SCORES_TOGETHER // length**2)
        while left:
            count = min(left, most)
            found.append((slice(start, start + count * length), count))
            start, left = start + count * length, left - count
    return found


def _of(tensor: torch.Tensor, documents: slice, count: int) -> torch.Tensor:
    """A group's part of [1, heads, tokens, size]: [heads * count, length, size]."""
    part = tensor[0, :, documents]
    return part.reshape(count * part.shape[0], -1, part.shape[2])


def _put(target: torch.Tensor, documents: slice, _: int, part: torch.Tensor) -> None:
    """The way back."""
    target[0, :, documents] = part.reshape(target.shape[1], -1, part.shape[2])


def _bmm(one: torch.Tensor, other: torch.Tensor, factor: float) -> torch.Tensor:
    return torch.baddbmm(one.new_empty(()), one, other, beta=0, alpha=factor)


class Projections(NamedTuple):
    """What a layer's attention reads hidden states with, whatever its family calls it."""

    attention: Any
    query: nn.Linear
    key: nn.Linear
    value: nn.Linear


def projections_of(layer: Any) -> Projections:
    """Those of one of FAMILIES' layers."""
    if is_distilberts(layer):
        inner = layer.attention
        return Projections(inner, inner.q_lin, inner.k_lin, inner.v_lin)
    inner = layer.attention.self
    return Projections(inner, inner.query, inner.key, inner.value)


def read_as_they_are(model: nn.Module) -> tuple[nn.Module, ...]:
    """Linear layers of a model that are never called, since their weights are read: nothing may replace them."""
    if not can_pack(model):
        return ()
    last = stack_of(model).layer[-1]
    return projections_of(last)[2:] if isinstance(last.forward, _FirstTokens) else ()


def is_distilberts(layer: Any) -> bool:
    return hasattr(layer, "sa_layer_norm")


class _FirstTokens:
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
            read = _read(projections, hidden.to(kind), asked.to(kind), lengths, starts).to(asked.dtype)
        if is_distilberts(layer):
            attended = layer.sa_layer_norm(layer.attention.out_lin(read) + first)
            answered: torch.Tensor = layer.output_layer_norm(layer.ffn(attended) + attended)
        else:
            answered = layer.feed_forward_chunk(layer.attention.output(read, first))
        return answered.transpose(0, 1)


def _read(
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
