"""Attention within each document of a packed batch, on a CPU."""

from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from accel_clf.models.kernels.dropout import DropoutMask

SCORES_PER_GROUP = 1 << 16  # attention scores of a head that fit a processor's cache
PADDING_PER_GROUP = 1 << 12  # scores of a head that take less time than the calls for another group


class Padding(NamedTuple):
    """How a group's documents, of similar lengths, are padded to the longest.

    Attributes:
        places: int64 [documents * longest], the token of each place, counted from the group's first; padding has a
            document's first.
        places_of_tokens: int64 [tokens], the place of each token.
        is_padding: bool [documents, longest].
    """

    places: torch.Tensor
    places_of_tokens: torch.Tensor
    is_padding: torch.Tensor


class LengthGroup(NamedTuple):
    """Neighbouring documents of one length, or padded to one.

    Attributes:
        tokens: theirs in the row.
        documents: how many they are.
        padding: None where all have one length.
    """

    tokens: slice
    documents: int
    padding: Padding | None = None


def packed_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: None,
    *,
    lengths: tuple[int, ...],
    scaling: float,
    dropout: float = 0.0,
    starts: torch.Tensor | None = None,
    position_ids: torch.Tensor | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Compute attention within each document, with the signature of transformers' attention functions.

    What it does not know by name, such as a window, is an error unless it is None: the result would be another.

    Args:
        query, key, value: [1, heads, tokens, size].
        lengths: tokens of each document.
        starts, position_ids: the batch's, which attention within documents does not need.

    Returns:
        [1, tokens, heads, size].

    Raises:
        TypeError: there is something that it does not know.
    """
    if unknown := sorted(name for name, value in others.items() if value is not None):
        raise TypeError(f"attention within documents does not know {', '.join(unknown)}, which the model passes")
    if dropout:
        attended: torch.Tensor = GroupedAttention.apply(  # type: ignore[no-untyped-call]
            query, key, value, lengths, scaling, dropout
        )
        return attended, None
    groups, heads, size = length_groups(lengths), query.shape[1], query.shape[3]
    sizes = [group.tokens.stop - group.tokens.start for group in groups]
    parts = (torch.split(tensor[0], sizes, dim=1) for tensor in (query, key, value))
    outputs = []
    for group, *tensors in zip(groups, *parts, strict=True):
        q, k, v = (tensor.view(heads, group.documents, -1, size).transpose(0, 1) for tensor in tensors)
        outputs.append(scaled_dot_product_attention(q, k, v, scale=scaling).transpose(1, 2).flatten(0, 1))
    return torch.cat(outputs)[None], None


class GroupedAttention(torch.autograd.Function):
    """Attention with dropout on a CPU, for which torch has no kernel of its own.

    One group of documents after another, so that what is used together stays in the processor's cache; gradients are
    written in place, without a tensor of zeros for each group. Of short documents those of similar lengths are one
    group, padded to the longest: no key is padding, and no gradient comes from it.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        lengths: tuple[int, ...],
        scaling: float,
        dropout: float,
    ) -> torch.Tensor:
        dropout_mask, groups = DropoutMask(dropout), length_groups(lengths, PADDING_PER_GROUP)
        attended = torch.empty_like(query.transpose(1, 2))
        saved = []
        for group in groups:
            scores = bmm(take(query, group), take(key, group).transpose(1, 2), scaling)
            scores = without_padding(scores, group, -1, -torch.inf)
            weights = torch.softmax(scores, dim=-1).to(query.dtype)  # which autocast computes in float32
            mask = dropout_mask.draw(tuple(weights.shape))
            saved += [weights, mask]
            kept_weights = mask.to(weights.dtype).mul_(weights)
            output = bmm(kept_weights, take(value, group), dropout_mask.scale)
            put(attended.transpose(1, 2), group, output)
        ctx.save_for_backward(query, key, value, *saved)
        ctx.groups, ctx.scaling, ctx.scale = groups, scaling, dropout_mask.scale
        return attended

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, *saved = ctx.saved_tensors
        groups: list[LengthGroup] = ctx.groups
        grad_query, grad_key, grad_value = (
            torch.empty_like(tensor.transpose(1, 2)).transpose(1, 2) for tensor in (query, key, value)
        )
        gradient = gradient.transpose(1, 2)
        for group, weights, mask in zip(groups, saved[::2], saved[1::2], strict=True):
            grad_output = without_padding(take(gradient, group), group, -2, 0.0)
            mask = mask.to(weights.dtype)
            grad_weights = bmm(grad_output, take(value, group).transpose(1, 2), ctx.scale).mul_(mask)
            put(grad_value, group, bmm(mask.mul_(weights).transpose(1, 2), grad_output, ctx.scale))
            grad_scores = torch._softmax_backward_data(grad_weights, weights, -1, weights.dtype)
            put(grad_query, group, bmm(grad_scores, take(key, group), ctx.scaling))
            put(grad_key, group, bmm(grad_scores.transpose(1, 2), take(query, group), ctx.scaling))
        return grad_query, grad_key, grad_value, None, None, None


@lru_cache(maxsize=4)  # all layers of a batch ask for the same
def length_groups(lengths: tuple[int, ...], most_padding: int = 0) -> list[LengthGroup]:
    """Group neighbouring documents of one length, or of similar ones, as many as fit a processor's cache.

    Args:
        lengths: tokens of each document.
        most_padding: how many of a group's scores, for each head, may be padding.
    """
    groups: list[LengthGroup] = []
    first = start = longest = scores = 0
    for index, length in enumerate(lengths):
        padded = (index - first + 1) * max(longest, length) ** 2
        if index > first and (padded > SCORES_PER_GROUP or padded - scores - length**2 > most_padding):
            groups.append(_group(lengths[first:index], start))
            first, start, longest, scores = index, groups[-1].tokens.stop, 0, 0
        longest, scores = max(longest, length), scores + length**2
    return [*groups, _group(lengths[first:], start)] if lengths else groups


def _group(lengths: tuple[int, ...], start: int) -> LengthGroup:
    tokens = slice(start, start + sum(lengths))
    if min(lengths) == max(lengths):
        return LengthGroup(tokens, len(lengths))
    sizes = torch.tensor(lengths)[:, None]
    columns, firsts = torch.arange(max(lengths)), sizes.cumsum(0) - sizes
    is_padding = columns >= sizes
    places = (firsts + columns).where(~is_padding, firsts).flatten()
    return LengthGroup(tokens, len(lengths), Padding(places, (~is_padding).flatten().nonzero().flatten(), is_padding))


def take(tensor: torch.Tensor, group: LengthGroup) -> torch.Tensor:
    """Take a group's part of [1, heads, tokens, size]: [heads * documents, longest, size]; padding is not empty."""
    part = tensor[0, :, group.tokens]
    part = part.index_select(1, group.padding.places) if group.padding else part
    return part.reshape(group.documents * part.shape[0], -1, part.shape[2])


def without_padding(part: torch.Tensor, group: LengthGroup, dim: int, value: float) -> torch.Tensor:
    """Set what is padding in a dimension of [heads * documents, longest, ...], -1 or -2, to a value, in place."""
    if group.padding:
        is_padding = group.padding.is_padding[:, None, :] if dim == -1 else group.padding.is_padding[:, :, None]
        part.view(-1, group.documents, *part.shape[1:]).masked_fill_(is_padding, value)
    return part


def put(target: torch.Tensor, group: LengthGroup, part: torch.Tensor) -> None:
    """Write a group's part back, without padding."""
    part = part.reshape(target.shape[1], -1, part.shape[2])
    target[0, :, group.tokens] = part.index_select(1, group.padding.places_of_tokens) if group.padding else part


def bmm(left: torch.Tensor, right: torch.Tensor, factor: float) -> torch.Tensor:
    """Multiply matrices, and the product by a factor."""
    return torch.baddbmm(left.new_empty(()), left, right, beta=0, alpha=factor)
