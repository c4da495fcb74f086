"""Attention with rotary positions within each document of a packed batch, on a CPU.

Of windows and causal attention, only what a block of queries can see is computed. One group of documents after another,
so that what is used together stays in the processor's cache.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch.nn.functional import scaled_dot_product_attention

from accel_clf.models.kernels.attention import SCORES_PER_GROUP, LengthGroup, bmm, length_groups
from accel_clf.models.kernels.dropout import DropoutMask

BLOCK = 128  # queries whose keys are cut to what they can see
FEWEST_QUERIES = 64  # of a block, however long the document
LONGEST_KEPT = 1024  # tokens of a document whose weights are kept for the backward; those of longer ones are recomputed


class Sight(NamedTuple):
    """What a token sees of its document.

    Attributes:
        scaling: of the scores.
        reach: how many tokens to either side at most; None for all.
        is_causal: whether none of those that follow it.
        dropout: the rate of the weights.
    """

    scaling: float
    reach: int | None
    is_causal: bool
    dropout: float


class Rotation(NamedTuple):
    """Cosines and sines of the positions' angles, [tokens, size / 2] each."""

    cos: torch.Tensor
    sin: torch.Tensor


def rotary_attention(
    projected: Sequence[torch.Tensor], rotation: Rotation, lengths: tuple[int, ...], sight: Sight
) -> torch.Tensor:
    """Compute attention within each document: [tokens, heads * size].

    Args:
        projected: queries, keys and values in one tensor, [tokens, 3, heads, size], or each in its own, [tokens, heads,
            size], with as many heads of keys and values as divide those of queries.
        rotation: of the tokens' positions in their documents.
        lengths: tokens of each document.
        sight: what a token sees.
    """
    if torch.is_grad_enabled() or sight.dropout:
        attended: torch.Tensor = _RotaryAttention.apply(  # type: ignore[no-untyped-call]
            rotation, lengths, sight, *projected
        )
    else:
        attended = _attend_without_gradient(projected, rotation, lengths, sight)
    return attended.flatten(1)


def pooled_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    rotation: Rotation,
    lengths: tuple[int, ...],
    index: torch.Tensor,
    sight: Sight,
) -> torch.Tensor:
    """Compute attention for one token of each document, its first or last: [documents, heads * size].

    Args:
        query: of these tokens, [documents, heads, size].
        key, value: of all tokens, [tokens, heads, size].
        rotation, lengths, sight: see `rotary_attention`.
        index: where these tokens are, int64 [documents].
    """
    at_index = Rotation(*(table.index_select(0, index)[:, None] for table in rotation))
    query = rotate(query, at_index, value.dtype)
    key = rotate(key, Rotation(*(table[:, None] for table in rotation)), value.dtype)
    documents, key_heads, size = len(lengths), key.shape[1], key.shape[2]
    groups, start = length_groups(lengths), 0
    sizes = [group.tokens.stop - group.tokens.start for group in groups]
    outputs = []
    positions = (index.cpu() - torch.tensor(lengths).cumsum(0) + torch.tensor(lengths)).tolist()
    for group, keys, values in zip(groups, torch.split(key, sizes), torch.split(value, sizes), strict=True):
        length, position = len(keys) // group.documents, positions[start]
        first, last = _visible(position, position + 1, length, sight)
        q = query[start : start + group.documents].view(group.documents, key_heads, -1, size)
        k, v = (
            tensor.view(group.documents, length, key_heads, size)[:, first:last].transpose(1, 2)
            for tensor in (keys, values)
        )
        weights = torch.softmax(q @ k.transpose(2, 3) * sight.scaling, dim=-1).to(v.dtype)
        outputs.append((torch.nn.functional.dropout(weights, sight.dropout) @ v).reshape(group.documents, -1))
        start += group.documents
    assert start == documents
    return torch.cat(outputs)


def rotate(heads: torch.Tensor, rotation: Rotation, dtype: torch.dtype) -> torch.Tensor:
    """Rotate heads by their positions' angles, in float32 at least, as transformers does.

    Args:
        heads: [..., size].
        rotation: to be broadcast to [..., size / 2].
        dtype: of what is returned.
    """
    real, imaginary = heads.to(torch.promote_types(heads.dtype, torch.float32)).chunk(2, dim=-1)
    cos, sin = rotation
    return torch.cat([real * cos - imaginary * sin, imaginary * cos + real * sin], dim=-1).to(dtype)


class _RotaryAttention(torch.autograd.Function):
    """Attention whose gradients are written in place; nothing of the size of all tokens is made besides."""

    @staticmethod
    def forward(
        ctx: Any, rotation: Rotation, lengths: tuple[int, ...], sight: Sight, *projected: torch.Tensor
    ) -> torch.Tensor:
        query, key, value = _unbind(projected)
        mask = DropoutMask(sight.dropout) if sight.dropout else None
        attended, kept = query.new_empty(query.shape), []
        for group in length_groups(lengths):
            heads = _Heads.of(group, query, key, value, rotation)
            output = _in_groups(attended[group.tokens], group, key.shape[1])
            for block in _blocks(heads.length, sight):
                weights = heads.weights(block, sight)
                drawn = mask.draw(tuple(weights.shape)) if mask else None
                if heads.length <= LONGEST_KEPT:
                    kept.append(weights)
                kept.extend([] if drawn is None else [drawn])
                weights = weights if drawn is None else drawn.to(weights.dtype).mul_(weights)
                part = bmm(weights, heads.value[:, block.keys], mask.scale if mask else 1.0)
                output[:, :, :, block.queries] = part.view(output[:, :, :, block.queries].shape)
        ctx.save_for_backward(*rotation, *projected, *kept)
        ctx.lengths, ctx.sight, ctx.projected = lengths, sight, len(projected)
        ctx.scale = mask.scale if mask else 1.0
        return attended

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        cos, sin, *tensors = ctx.saved_tensors
        sight: Sight = ctx.sight
        rotation, projected, kept = Rotation(cos, sin), tensors[: ctx.projected], iter(tensors[ctx.projected :])
        query, key, value = _unbind(projected)
        gradients = [torch.empty_like(tensor) for tensor in projected]
        grad_query, grad_key, grad_value = _unbind(gradients)
        for group in length_groups(ctx.lengths):
            heads = _Heads.of(group, query, key, value, rotation)
            grad_output = _in_groups(gradient[group.tokens], group, key.shape[1]).to(query.dtype)
            q_grad, k_grad, v_grad = (torch.zeros_like(part, dtype=cos.dtype) for part in heads[:3])
            for block in _blocks(heads.length, sight):
                weights = next(kept) if heads.length <= LONGEST_KEPT else heads.weights(block, sight)
                drawn = next(kept).to(weights.dtype) if sight.dropout else None
                output = grad_output[:, :, :, block.queries].reshape(len(heads.key), -1, heads.key.shape[2])
                grad_weights = bmm(output, heads.value[:, block.keys].transpose(1, 2), ctx.scale)
                grad_weights = grad_weights if drawn is None else grad_weights.mul_(drawn)
                dropped = weights if drawn is None else drawn.mul_(weights)
                v_grad[:, block.keys] += bmm(dropped.transpose(1, 2), output, ctx.scale)
                scores = torch._softmax_backward_data(grad_weights, weights, -1, weights.dtype)
                part = q_grad[:, :, block.queries]
                part.copy_(bmm(scores, heads.key[:, block.keys], sight.scaling).view(part.shape))
                block_query = heads.query[:, :, block.queries].flatten(1, 2)
                k_grad[:, block.keys] += bmm(scores.transpose(1, 2), block_query, sight.scaling)
            angles = heads.rotation
            for part, target in ((q_grad, grad_query), (k_grad, grad_key), (v_grad, grad_value)):
                if target is not grad_value:
                    part = _rotated(part, Rotation(angles.cos, -angles.sin), part.dtype)
                place = _in_groups(target[group.tokens], group, key.shape[1])
                place.copy_(part.view(place.shape))
        return None, None, None, *gradients


class _Heads(NamedTuple):
    """A group's heads, rotated: queries [documents * key heads, queries a key head, length, size], the others alike."""

    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    rotation: Rotation

    @classmethod
    def of(
        cls, group: LengthGroup, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, rotation: Rotation
    ) -> "_Heads":
        count, size = key.shape[1], key.shape[2]
        length = (group.tokens.stop - group.tokens.start) // group.documents
        angles = Rotation(*(table[group.tokens.start : group.tokens.start + length] for table in rotation))
        q, k, v = (_in_groups(tensor[group.tokens], group, count) for tensor in (query, key, value))
        rows = group.documents * count
        return cls(
            _rotated(q, angles, value.dtype).view(rows, -1, length, size),
            _rotated(k, angles, value.dtype).view(rows, length, size),
            v.reshape(rows, length, size),
            angles,
        )

    @property
    def length(self) -> int:
        return self.key.shape[1]

    def weights(self, block: "_Block", sight: Sight) -> torch.Tensor:
        """Compute a block's weights: [documents * key heads, queries of all their heads, keys]."""
        queries = self.query[:, :, block.queries]
        scores = bmm(queries.flatten(1, 2), self.key[:, block.keys].transpose(1, 2), sight.scaling)
        if block.bias is not None:
            scores.view(*queries.shape[:3], -1).add_(block.bias.to(scores.dtype))
        return scores.softmax(dim=-1)


class _Block(NamedTuple):
    """Queries, the keys that they see any of, and -inf where a query does not see a key, float32 [queries, keys]."""

    queries: slice
    keys: slice
    bias: torch.Tensor | None


def _blocks(length: int, sight: Sight) -> Iterator[_Block]:
    """Divide a document's queries into blocks."""
    is_partial = sight.is_causal or sight.reach is not None
    size = max(FEWEST_QUERIES, min(SCORES_PER_GROUP // length, BLOCK if is_partial else length))
    for start in range(0, length, size):
        stop = min(start + size, length)
        first, last = _visible(start, stop, length, sight)
        bias = _bias(start - first, stop - start, last - first, sight.reach, sight.is_causal) if is_partial else None
        yield _Block(slice(start, stop), slice(first, last), bias)


def _visible(start: int, stop: int, length: int, sight: Sight) -> tuple[int, int]:
    """Return the first key that queries from start to stop see, and the one after the last."""
    reach = length if sight.reach is None else sight.reach
    return max(0, start - reach), stop if sight.is_causal else min(length, stop + reach)


@lru_cache(maxsize=64)  # all layers of a batch ask for the same
def _bias(offset: int, queries: int, keys: int, reach: int | None, is_causal: bool) -> torch.Tensor | None:
    """Make what is added to scores of queries that begin `offset` after the first key; None where all is seen."""
    distance = torch.arange(keys) - torch.arange(offset, offset + queries)[:, None]
    is_hidden = (distance > 0) & is_causal
    if reach is not None:
        is_hidden |= distance.abs() > reach
    return torch.zeros(queries, keys).masked_fill(is_hidden, -torch.inf) if is_hidden.any() else None


def _attend_without_gradient(
    projected: Sequence[torch.Tensor], rotation: Rotation, lengths: tuple[int, ...], sight: Sight
) -> torch.Tensor:
    """Compute attention by torch's operation, which keeps no kernel for each length, as products in bf16 do."""
    query, key, value = _unbind(projected)
    attended = value.new_empty(query.shape)
    repeats = query.shape[1] // key.shape[1]
    for group in length_groups(lengths):
        heads = _Heads.of(group, query, key, value, rotation)
        q = heads.query.reshape(group.documents, -1, *heads.query.shape[2:])
        k, v = (part.view(group.documents, -1, *part.shape[1:]).repeat_interleave(repeats, 1) for part in heads[1:3])
        output = attended[group.tokens].view(group.documents, heads.length, *attended.shape[1:]).transpose(1, 2)
        for block in _blocks(heads.length, sight):
            output[:, :, block.queries] = scaled_dot_product_attention(
                q[:, :, block.queries],
                k[:, :, block.keys],
                v[:, :, block.keys],
                attn_mask=None if block.bias is None else block.bias.to(q.dtype),
                scale=sight.scaling,
            )
    return attended


def _unbind(projected: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
    """Return queries, keys and values as views: [tokens, heads, size] each."""
    return projected[0].unbind(1) if len(projected) == 1 else projected


def _in_groups(heads: torch.Tensor, group: LengthGroup, key_heads: int) -> torch.Tensor:
    """View a group's heads, [tokens, heads, size], as [documents, key heads, heads a key head, length, size]."""
    length = len(heads) // group.documents
    grouped = heads.view(group.documents, length, key_heads, -1, heads.shape[2])
    return grouped.permute(0, 2, 3, 1, 4)


def _rotated(heads: torch.Tensor, rotation: Rotation, dtype: torch.dtype) -> torch.Tensor:
    """Do what `rotate` does, in few passes and without gradients; contiguous."""
    wide = torch.promote_types(heads.dtype, torch.float32)
    real, imaginary = torch.empty(heads.shape, dtype=wide).copy_(heads).chunk(2, dim=-1)
    rotated = torch.empty(heads.shape, dtype=wide)
    to_real, to_imaginary = rotated.chunk(2, dim=-1)
    cos, sin = rotation
    torch.mul(real, cos, out=to_real).addcmul_(imaginary, sin, value=-1)
    torch.mul(imaginary, cos, out=to_imaginary).addcmul_(real, sin)
    return rotated.to(dtype)
