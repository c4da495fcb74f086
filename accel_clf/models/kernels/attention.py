"""Attention within each document of a packed batch, on a CPU."""

from functools import lru_cache
from itertools import groupby
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from accel_clf.models.kernels.dropout import DropoutMask

SCORES_PER_GROUP = 1 << 16  # attention scores of a head that fit a processor's cache


class LengthGroup(NamedTuple):
    """Neighbouring documents of one length: their tokens in the row, and how many documents they are."""

    tokens: slice
    documents: int


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
    written in place, without a tensor of zeros for each group.
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
        dropout_mask, groups = DropoutMask(dropout), length_groups(lengths)
        attended = torch.empty_like(query.transpose(1, 2))
        saved = []
        for group in groups:
            scores = bmm(take(query, group), take(key, group).transpose(1, 2), scaling)
            weights = torch.softmax(scores, dim=-1).to(query.dtype)  # which autocast computes in float32
            mask = dropout_mask.draw(tuple(weights.shape))
            saved += [weights, mask]
            kept_weights = mask.to(weights.dtype).mul_(weights)
            put(attended.transpose(1, 2), group, bmm(kept_weights, take(value, group), dropout_mask.scale))
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
            grad_output, mask = take(gradient, group), mask.to(weights.dtype)
            grad_weights = bmm(grad_output, take(value, group).transpose(1, 2), ctx.scale).mul_(mask)
            put(grad_value, group, bmm(mask.mul_(weights).transpose(1, 2), grad_output, ctx.scale))
            grad_scores = torch._softmax_backward_data(grad_weights, weights, -1, weights.dtype)
            put(grad_query, group, bmm(grad_scores, take(key, group), ctx.scaling))
            put(grad_key, group, bmm(grad_scores.transpose(1, 2), take(query, group), ctx.scaling))
        return grad_query, grad_key, grad_value, None, None, None


@lru_cache(maxsize=4)  # all layers of a batch ask for the same
def length_groups(lengths: tuple[int, ...]) -> list[LengthGroup]:
    """Group neighbouring documents of one length, as many as fit a processor's cache."""
    groups, start = [], 0
    for length, documents in groupby(lengths):
        remaining, limit = len(list(documents)), max(1, SCORES_PER_GROUP // length**2)
        while remaining:
            count = min(remaining, limit)
            groups.append(LengthGroup(slice(start, start + count * length), count))
            start, remaining = start + count * length, remaining - count
    return groups


def take(tensor: torch.Tensor, group: LengthGroup) -> torch.Tensor:
    """Take a group's part of [1, heads, tokens, size]: [heads * documents, length, size]."""
    part = tensor[0, :, group.tokens]
    return part.reshape(group.documents * part.shape[0], -1, part.shape[2])


def put(target: torch.Tensor, group: LengthGroup, part: torch.Tensor) -> None:
    """Write a group's part back."""
    target[0, :, group.tokens] = part.reshape(target.shape[1], -1, part.shape[2])


def bmm(left: torch.Tensor, right: torch.Tensor, factor: float) -> torch.Tensor:
    """Multiply matrices, and the product by a factor."""
    return torch.baddbmm(left.new_empty(()), left, right, beta=0, alpha=factor)
