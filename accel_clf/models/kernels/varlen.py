"""Layers of a packed encoder on a GPU: attention by the device's own kernels, and few launches.

A GPU waits for its host where a step is more launches than work. Here a layer's attention is one operation, its weights
are converted to autocast's dtype by one, and the projections that read the same input are one product. Numbers are
those of autocast: products and attention in its dtype, residuals and norms in float32.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.functional import linear, pad

from accel_clf.models.families.base import PostNormFamily
from accel_clf.models.lora import weight_of

HEAD_SIZE_MULTIPLE = 8  # of the kernels; a head of another size gets columns of zeros
LARGEST_FLASH_HEAD = 256


class Documents(NamedTuple):
    """Where the documents of a batch lie in a row of queries, or of keys.

    Attributes:
        starts: where each one starts, and the last one ends: int32 [documents + 1], on the device.
        longest: the most that one can have.
    """

    starts: torch.Tensor
    longest: int


def varlen_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    queries: Documents,
    keys: Documents,
    scaling: float,
    dropout: float,
) -> torch.Tensor:
    """Compute attention within each document, by the operations that scaled_dot_product_attention of nested tensors is.

    They are private: the public `torch.nn.attention.varlen` has no dropout.

    Args:
        query: [queries, heads, size].
        key, value: [tokens, heads, size].
        queries, keys: where the documents lie in both.
        scaling: of the scores, which stay float32 whatever the dtype.
        dropout: the rate.

    Returns:
        [queries, heads, size].
    """
    size = query.shape[2]
    if missing := -size % HEAD_SIZE_MULTIPLE:
        query, key, value = (pad(tensor, (0, missing)) for tensor in (query, key, value))
    documents = (queries.starts, keys.starts, queries.longest, keys.longest)
    attended: torch.Tensor
    if _has_flash(query):
        is_causal = return_debug_mask = False
        attended, *_ = torch.ops.aten._flash_attention_forward(
            query, key, value, *documents, dropout, is_causal, return_debug_mask, scale=scaling
        )
    else:
        bias, mask_type, keep_for_backward = None, 0, True
        attended, *_ = torch.ops.aten._efficient_attention_forward(
            query[None], key[None], value[None], bias, *documents, dropout, mask_type, keep_for_backward, scale=scaling
        )
        attended = attended.squeeze(0)
    return attended[..., :size] if missing else attended


def _has_flash(query: torch.Tensor) -> bool:
    """Whether flash attention takes such heads here: of 16 bits, on AMD's GPUs and NVIDIA's since Ampere."""
    if query.dtype == torch.float32 or query.shape[2] > LARGEST_FLASH_HEAD:
        return False
    return not query.is_cuda or torch.cuda.get_device_capability(query.device) >= (8, 0)


class CopyWeights(torch.autograd.Function):
    """Copies weights to one dtype, each group of them into one tensor; backward copies their gradients back.

    Either is one launch. Autocast has one for each weight.
    """

    @staticmethod
    def forward(
        ctx: Any, dtype: torch.dtype, sizes: tuple[int, ...], *weights: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Copy the weights.

        Args:
            dtype: of the copies.
            sizes: how many neighbours among the weights are a group; their shapes differ in the first dimension only.
            weights: the weights.

        Returns:
            For each group its weights, concatenated along the first dimension.
        """
        ctx.sizes, ctx.rows, ctx.dtypes = sizes, [len(weight) for weight in weights], [w.dtype for w in weights]
        copies: list[torch.Tensor] = []
        parts: list[torch.Tensor] = []
        first = 0
        for size in sizes:
            rows = ctx.rows[first : first + size]
            copies.append(weights[first].new_empty((sum(rows), *weights[first].shape[1:]), dtype=dtype))
            parts += torch.split(copies[-1], rows)
            first += size
        torch._foreach_copy_(parts, weights)
        return tuple(copies)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Copy the gradients of the copies back."""
        parts: list[torch.Tensor] = []
        first = 0
        for gradient, size in zip(gradients, ctx.sizes, strict=True):
            parts += torch.split(gradient, ctx.rows[first : first + size])
            first += size
        copies = [part.new_empty(part.shape, dtype=dtype) for part, dtype in zip(parts, ctx.dtypes, strict=True)]
        torch._foreach_copy_(copies, parts)
        return None, None, *copies


class VarlenLayer:
    """A layer's forward on packed tokens: from [1, tokens, width] to the same.

    The last layer's is [documents, 1, width]: heads read each document's first token, and so it computes no other.

    Args:
        layer: of an encoder.
        family: the encoder's.
        is_last: whether it is the last one.
    """

    def __init__(self, layer: Any, family: PostNormFamily, is_last: bool) -> None:
        self.layer, self.is_last = layer, is_last
        self.projections, self.after = family.projections(layer), family.feed_forward(layer)

    def __call__(
        self, hidden: torch.Tensor, *_: Any, cu_seqlens: torch.Tensor, max_seqlen: int, **__: Any
    ) -> torch.Tensor:
        """Compute the layer's output.

        Args:
            hidden: its input.
            cu_seqlens: where each document starts, and the last one ends, int32 [documents + 1]; none is empty.
            max_seqlen: the most tokens that one can have.
        """
        after, dtype = self.after, compute_dtype(hidden)
        *inputs, out, up, down = self._copy_weights(dtype)
        hidden = hidden.squeeze(0)
        tokens, documents = hidden.to(dtype), Documents(cu_seqlens, max_seqlen)
        if self.is_last:
            starts = cu_seqlens[:-1]
            (query,) = self._project(tokens.index_select(0, starts), *inputs[0])
            key, value = self._project(tokens, *inputs[1])
            hidden = hidden.index_select(0, starts)
            queries = Documents(torch.arange(len(cu_seqlens), dtype=torch.int32, device=hidden.device), 1)
        else:
            query, key, value = self._project(tokens, *inputs[0])
            queries = documents
        attention = self.projections.attention
        rate = attention.dropout.p if self.layer.training else 0.0
        attended = varlen_attention(query, key, value, queries, documents, attention.scaling, rate).flatten(1)
        hidden = after.attention_norm(after.attention_dropout(linear(attended, *out)) + hidden)
        inner = after.activation(linear(hidden.to(dtype), *up))
        hidden = after.dropout(linear(inner, *down)) + hidden
        output: torch.Tensor = after.norm(hidden[:, None] if self.is_last else hidden[None])
        return output

    def _project(self, tokens: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Compute one or several projections in one product: [tokens, heads, size] each."""
        count, size = len(weight) // tokens.shape[1], self.projections.attention.attention_head_size
        return linear(tokens, weight, bias).view(len(tokens), count, -1, size).unbind(1)

    def _copy_weights(self, dtype: torch.dtype) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Copy weight and bias of each product: query, key and value (query alone in the last layer), the rest."""
        _, *projections = self.projections
        inputs = [projections[:1], projections[1:]] if self.is_last else [projections]
        groups: list[Sequence[nn.Linear]] = [*inputs, [self.after.out], [self.after.up], [self.after.down]]
        linears, sizes = list(chain(*groups)), tuple(map(len, groups))
        weights = (*(weight_of(layer) for layer in linears), *(layer.bias for layer in linears))
        copies = CopyWeights.apply(dtype, sizes * 2, *weights)  # type: ignore[no-untyped-call]
        return list(zip(copies[: len(groups)], copies[len(groups) :], strict=True))


def compute_dtype(hidden: torch.Tensor) -> torch.dtype:
    """Return the dtype of matrix products: autocast's, where it is on."""
    kind = hidden.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
