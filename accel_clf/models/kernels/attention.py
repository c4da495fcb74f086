"""Attention within each document of a packed batch."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby
from typing import Any

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from accel_clf.models.kernels.dropout import DropoutMask

SCORES_TOGETHER = 1 << 16  # of a head


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
    groups, heads, size = length_groups(lengths), query.shape[1], query.shape[3]
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
        keep, groups = DropoutMask(dropout), length_groups(lengths)
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
def length_groups(lengths: tuple[int, ...]) -> list[tuple[slice, int]]:
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
