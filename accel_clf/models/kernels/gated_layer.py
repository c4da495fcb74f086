"""Prenorm layers with rotary positions and a gated feed-forward, on the tokens of a packed batch, on a CPU."""

import torch
from torch import nn

from accel_clf.models.families.base import GatedFamily, GatedLayer, Pooling
from accel_clf.models.kernels.pointwise import gated_unit
from accel_clf.models.kernels.rotary_attention import Rotation, Sight, pooled_attention, rotary_attention


class PackedGatedLayer:
    """A layer's forward on packed tokens: from [1, tokens, width] to the same.

    With a pooling that takes one token of each document, it computes no other: [documents, 1, width].

    Args:
        layer: of an encoder.
        family: the encoder's.
        pooling: of the last layer, which token the head reads; None for other layers.
    """

    def __init__(self, layer: nn.Module, family: GatedFamily, pooling: Pooling | None) -> None:
        self.layer, self.family, self.pooling = layer, family, pooling

    def __call__(
        self,
        hidden: torch.Tensor,
        *,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        lengths: tuple[int, ...],
        starts: torch.Tensor,
        attention_mask: None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: None = None,
        use_cache: bool | None = None,
    ) -> torch.Tensor:
        """Compute the layer's output.

        Args:
            hidden: its input.
            position_embeddings: cosines and sines of the tokens' positions in their documents, [1, tokens, size] each.
            lengths: tokens of each document.
            starts: each document's first position among the tokens, int64 [documents].
            attention_mask: there is none.
            position_ids: the model has made `position_embeddings` of them.
            past_key_values, use_cache: of text generation; without meaning here.
        """
        parts: GatedLayer = self.family.parts(self.layer)
        dropout = parts.attention_dropout if self.layer.training else 0.0
        sight = Sight(parts.scaling, parts.reach, parts.is_causal, dropout)
        half = position_embeddings[0].shape[-1] // 2  # the other half is the same
        rotation = Rotation(*(table[0, :, :half] for table in position_embeddings))
        index = _pooled_index(self.pooling, starts, lengths)
        projected = _project(parts, parts.attention_norm(hidden), index)
        with torch.autocast(hidden.device.type, enabled=False):
            if index is None:
                attended = rotary_attention(projected, rotation, lengths, sight)[None]
            else:
                attended = _attend_pooled(projected, rotation, lengths, index, sight)
                hidden = hidden.index_select(1, index).transpose(0, 1)
        attended = parts.out(attended)
        hidden = hidden + (attended if parts.out_dropout is None else parts.out_dropout(attended))
        normed = parts.norm(hidden)
        gated = gated_unit(parts.activation, *(linear(normed) for linear in parts.up))
        output: torch.Tensor = hidden + parts.down(gated if parts.dropout is None else parts.dropout(gated))
        return output


def _pooled_index(pooling: Pooling | None, starts: torch.Tensor, lengths: tuple[int, ...]) -> torch.Tensor | None:
    """Return where the tokens are that are computed, int64 [documents]; None for all."""
    if pooling is Pooling.FIRST:
        return starts
    return starts + torch.tensor(lengths) - 1 if pooling is Pooling.LAST else None


def _project(parts: GatedLayer, hidden: torch.Tensor, index: torch.Tensor | None) -> list[torch.Tensor]:
    """Compute queries (at an index only, if there is one), keys and values, together or each in its own tensor."""
    tokens = hidden.shape[1]
    if len(parts.projections) == 1:
        joined = parts.projections[0](hidden)[0].view(tokens, 3, parts.heads, -1)
        if index is None:
            return [joined]
        return [joined[:, 0].index_select(0, index), joined[:, 1], joined[:, 2]]
    queries = hidden if index is None else hidden.index_select(1, index)
    query, key, value = (
        linear(states)[0].unflatten(1, (heads, -1))
        for linear, states, heads in zip(
            parts.projections,
            (queries, hidden, hidden),
            (parts.heads, parts.key_heads, parts.key_heads),
            strict=True,
        )
    )
    return [
        parts.query_norm(query) if parts.query_norm else query,
        parts.key_norm(key) if parts.key_norm else key,
        value,
    ]


def _attend_pooled(
    projected: list[torch.Tensor], rotation: Rotation, lengths: tuple[int, ...], index: torch.Tensor, sight: Sight
) -> torch.Tensor:
    """Compute attention at an index: [documents, 1, width]."""
    query, key, value = projected
    dtype = value.dtype
    if not torch.is_grad_enabled():
        # In bf16 a CPU makes and keeps a kernel for each shape: few in training, but a server's memory would grow.
        query, key, value = query.float(), key.float(), value.float()
    return pooled_attention(query, key, value, rotation, lengths, index, sight).to(dtype)[:, None]
