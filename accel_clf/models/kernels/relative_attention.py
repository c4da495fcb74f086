"""Attention within each document of a packed batch whose scores go by relative positions, too; on a CPU.

A score of query i and key j gets terms of their distance i - j. For documents of n tokens there are 2n - 1 distances:
one product makes the terms of each query (or key) with all of them, and a view of it with shifted rows is the matrix
of pairs. So the cost falls with a document's length, and nothing is gathered.
"""

from contextlib import nullcontext
from typing import Any

import torch

from accel_clf.models.families.base import PositionTerms
from accel_clf.models.kernels.attention import LengthGroup, bmm, length_groups, put, take
from accel_clf.models.kernels.dropout import DropoutMask


def relative_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    terms: PositionTerms,
    lengths: tuple[int, ...],
    scaling: float,
    dropout: float,
) -> torch.Tensor:
    """Compute attention within each document.

    Args:
        query, key, value: [1, heads, tokens, size].
        terms: of all pairs of the longest document.
        lengths: tokens of each document.
        scaling: of the scores; `terms.bias` is not scaled.
        dropout: the rate.

    Returns:
        [1, tokens, heads, size].
    """
    dtype, is_training = query.dtype, torch.is_grad_enabled()
    # In bf16 a CPU makes and keeps a kernel for each shape: few in training, but a server's memory would double.
    precision = dtype if is_training else torch.float32
    query, key, value, terms = query.to(precision), key.to(precision), value.to(precision), terms.to(precision)
    with nullcontext() if is_training else torch.autocast(query.device.type, enabled=False):
        attended: torch.Tensor = RelativeAttention.apply(  # type: ignore[no-untyped-call]
            query, key, value, *terms, lengths, scaling, dropout
        )
    return attended.to(dtype)


class RelativeAttention(torch.autograd.Function):
    """Attention of one group of documents after another, so that what is used together stays in the processor's cache.

    Gradients are written in place; those of positions, to which all documents add, are summed in float32.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        position_key: torch.Tensor | None,
        position_query: torch.Tensor | None,
        bias: torch.Tensor | None,
        lengths: tuple[int, ...],
        scaling: float,
        dropout: float,
    ) -> torch.Tensor:
        terms = PositionTerms(position_key, position_query, bias)
        dropout_mask = DropoutMask(dropout) if dropout else None
        attended = torch.empty_like(query.transpose(1, 2))
        saved: list[torch.Tensor | None] = []
        for group in length_groups(lengths):
            scores = relative_scores(query, key, terms, group, max(lengths), scaling)
            weights = torch.softmax(scores, dim=-1).to(query.dtype)  # which autocast computes in float32
            mask, kept_weights, scale = None, weights, 1.0
            if dropout_mask:
                mask, scale = dropout_mask.draw(tuple(weights.shape)), dropout_mask.scale
                kept_weights = mask.to(weights.dtype).mul_(weights)
            if any(ctx.needs_input_grad):
                saved += [weights, mask]
            put(attended.transpose(1, 2), group, bmm(kept_weights, take(value, group), scale))
        ctx.save_for_backward(query, key, value, *terms, *saved)
        ctx.lengths, ctx.scaling, ctx.scale = lengths, scaling, dropout_mask.scale if dropout_mask else 1.0
        return attended

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, *others = ctx.saved_tensors
        terms, saved = PositionTerms(*others[:3]), others[3:]
        grad_query, grad_key, grad_value = (
            torch.empty_like(tensor.transpose(1, 2)).transpose(1, 2) for tensor in (query, key, value)
        )
        sums = PositionTerms(*(None if term is None else torch.zeros_like(term, dtype=torch.float32) for term in terms))
        gradient, longest = gradient.transpose(1, 2), max(ctx.lengths)
        for group, weights, mask in zip(length_groups(ctx.lengths), saved[::2], saved[1::2], strict=True):
            grad_output, kept_weights = take(gradient, group), weights
            grad_weights = bmm(grad_output, take(value, group).transpose(1, 2), ctx.scale)
            if mask is not None:
                mask = mask.to(weights.dtype)
                grad_weights.mul_(mask)
                kept_weights = mask.mul_(weights)
            put(grad_value, group, bmm(kept_weights.transpose(1, 2), grad_output, ctx.scale))
            grad_scores = torch._softmax_backward_data(grad_weights, weights, -1, weights.dtype)
            grad_q = bmm(grad_scores, take(key, group), ctx.scaling)
            grad_k = bmm(grad_scores.transpose(1, 2), take(query, group), ctx.scaling)
            _add_position_gradients(
                grad_scores, (query, key), (grad_q, grad_k), terms, sums, group, longest, ctx.scaling
            )
            put(grad_query, group, grad_q)
            put(grad_key, group, grad_k)
        grad_terms = (
            None if sum_ is None or term is None else sum_.to(term.dtype)
            for sum_, term in zip(sums, terms, strict=True)
        )
        return grad_query, grad_key, grad_value, *grad_terms, None, None, None


def relative_scores(
    query: torch.Tensor, key: torch.Tensor, terms: PositionTerms, group: LengthGroup, longest: int, scaling: float
) -> torch.Tensor:
    """Compute a group's scores: [heads * documents, length, length].

    Args:
        query, key: [1, heads, tokens, size].
        terms: of all pairs of the longest document.
        group: of documents.
        longest: tokens of the longest document.
        scaling: of the scores.
    """
    q, k = take(query, group), take(key, group)
    length = q.shape[1]
    scores = None
    if terms.query is not None:
        product = bmm(key[0, :, group.tokens], _of_length(terms.query, length, longest).transpose(1, 2), scaling)
        scores = _pairs(product, length).transpose(1, 2)
    if terms.bias is not None:
        biases = terms.bias[:, None, :length, :length].expand(-1, group.documents, -1, -1).flatten(0, 1)
        scores = biases if scores is None else scores + biases
    if scores is None:
        scores = bmm(q, k.transpose(1, 2), scaling)
    else:
        scores = torch.baddbmm(scores, q, k.transpose(1, 2), alpha=scaling)
    if terms.key is not None:
        product = bmm(query[0, :, group.tokens], _of_length(terms.key, length, longest).transpose(1, 2), scaling)
        scores.add_(_pairs(product, length))
    return scores


def _add_position_gradients(
    grad_scores: torch.Tensor,
    inputs: tuple[torch.Tensor, torch.Tensor],
    gradients: tuple[torch.Tensor, torch.Tensor],
    terms: PositionTerms,
    sums: PositionTerms,
    group: LengthGroup,
    longest: int,
    scaling: float,
) -> None:
    """Add what a group's position terms contribute to the gradients of queries, keys and positions."""
    heads, length = inputs[0].shape[1], grad_scores.shape[1]
    if sums.bias is not None:
        sums.bias[:, :length, :length] += grad_scores.view(heads, group.documents, length, length).sum(
            dim=1, dtype=torch.float32
        )
    if sums.key is None and sums.query is None:
        return
    grad_product = grad_scores.new_zeros(heads, group.documents * length, 2 * length - 1)
    grad_pairs = _pairs(grad_product, length)  # the rest stays zero
    sides = ((terms.key, sums.key, grad_scores), (terms.query, sums.query, grad_scores.transpose(1, 2)))
    for tensor, gradient, (positions, total, pairs) in zip(inputs, gradients, sides, strict=True):
        if positions is not None and total is not None:
            grad_pairs.copy_(pairs)
            gradient += bmm(grad_product, _of_length(positions, length, longest), scaling).view_as(gradient)
            part = _of_length(total, length, longest)
            part += bmm(grad_product.transpose(1, 2), tensor[0, :, group.tokens], scaling)


def _of_length(positions: torch.Tensor, length: int, longest: int) -> torch.Tensor:
    """Take the distances within documents of a length: [heads, 2 length - 1, size] of [heads, 2 longest - 1, size]."""
    return positions[:, longest - length : longest + length - 1]


def _pairs(product: torch.Tensor, length: int) -> torch.Tensor:
    """View products with all distances as products with all tokens of the same document.

    Row i begins at the distance of token 0, which is one column further left in each next row.

    Args:
        product: contiguous, [heads, documents * length, 2 length - 1].
        length: tokens of each document.

    Returns:
        [heads * documents, length, length].
    """
    distances = 2 * length - 1
    documents = product.shape[0] * product.shape[1] // length
    return product.as_strided(
        (documents, length, length), (length * distances, distances - 1, 1), product.storage_offset() + length - 1
    )
