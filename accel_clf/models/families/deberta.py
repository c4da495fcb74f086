"""DeBERTa-v2 and v3, whose attention is disentangled: of contents with contents, and of contents with positions."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import torch

from accel_clf.models.families.base import NO_TERMS, Heads, PositionTerms, Projections, RelativeFamily
from accel_clf.models.families.bert import Bert


class Distances(NamedTuple):
    """What layers know of relative positions.

    Attributes:
        rows: the model's embeddings of them, [rows, width].
        row_of: the row for each of the distances from n - 1 down to 1 - n, int64 [2 n - 1].
    """

    rows: torch.Tensor
    row_of: torch.Tensor


class Deberta(Bert, RelativeFamily):
    def obstacle(self, config: Any) -> str | None:
        has_convolution = getattr(config, "conv_kernel_size", 0) > 0
        return "a convolution (conv_kernel_size), which would mix documents" if has_convolution else None

    def projections(self, layer: Any) -> Projections:
        attention = layer.attention.self
        kinds = 1 + sum(kind in attention.pos_att_type for kind in ("c2p", "p2c"))
        heads = Heads(attention.attention_head_size, (attention.attention_head_size * kinds) ** -0.5, attention.dropout)
        return Projections(heads, attention.query_proj, attention.key_proj, attention.value_proj)

    def finish(self, layer: Any, attended: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        attended = layer.attention.output(attended, hidden)
        output: torch.Tensor = layer.output(layer.intermediate(attended), attended)
        return output

    def embed(self, base: Any, input_ids: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor:
        types = inputs.get("token_type_ids")
        embedded: torch.Tensor = base.embeddings(input_ids, types, inputs["position_ids"])
        return embedded

    def positions(self, base: Any, longest: int) -> Distances | None:
        encoder = base.encoder
        if not encoder.relative_attention:
            return None
        rows = encoder.get_rel_embedding()
        index = _bucket_index(longest, encoder.position_buckets, encoder.max_relative_positions)
        return Distances(rows, index.to(rows.device))

    def terms(self, layer: Any, positions: Distances | None) -> PositionTerms:
        if positions is None:
            return NO_TERMS
        index = positions.row_of
        first, last = int(index[-1]), int(index[0])
        key, query = _project(layer.attention.self, positions.rows[first : last + 1])
        return _select(layer.attention.self, key, query, index - first)

    def first_terms(self, layer: Any, positions: Distances | None) -> PositionTerms:
        if positions is None:
            return NO_TERMS
        index = positions.row_of[len(positions.row_of) // 2 :]  # a first token's distances are never positive
        first, last = int(index[-1]), int(index[0])
        key, query = _project(layer.attention.self, positions.rows[first : last + 1])
        return _select(layer.attention.self, key, query, index - first, is_first=True)

    def constant_terms(self, layer: Any, base: Any) -> Callable[[Distances | None], PositionTerms]:
        attention, rows = layer.attention.self, base.encoder.get_rel_embedding()
        key, query = (None, None) if rows is None else _project(attention, rows.to(attention.key_proj.weight.dtype))

        def select(positions: Distances | None) -> PositionTerms:
            return NO_TERMS if positions is None else _select(attention, key, query, positions.row_of)

        return select


def _project(attention: Any, rows: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Compute the keys and the queries of positions, [rows, heads * size]; None for what the attention has not."""
    rows = attention.pos_dropout(rows)
    key = query = None
    if "c2p" in attention.pos_att_type:
        key = (attention.key_proj if attention.share_att_key else attention.pos_key_proj)(rows)
    if "p2c" in attention.pos_att_type:
        query = (attention.query_proj if attention.share_att_key else attention.pos_query_proj)(rows)
    return key, query


def _select(
    attention: Any,
    key: torch.Tensor | None,
    query: torch.Tensor | None,
    index: torch.Tensor,
    *,
    is_first: bool = False,
) -> PositionTerms:
    """Make terms of the keys and queries of positions.

    Args:
        attention: that they are of.
        key, query: see `_project`.
        index: of their rows, for the distances from the largest one down.
        is_first: whether the terms are of first tokens only.
    """

    def heads(projected: torch.Tensor | None, index: torch.Tensor) -> torch.Tensor | None:
        if projected is None:
            return None
        rows = projected.index_select(0, index).view(len(index), attention.num_attention_heads, -1)
        return rows.transpose(0, 1).contiguous()

    return PositionTerms(heads(key, index), heads(query, index if is_first else index.flip(0)), None)


@lru_cache(maxsize=64)
def _bucket_index(longest: int, buckets: int, max_distance: int) -> torch.Tensor:
    """Return the row of each distance among a model's embeddings of relative positions.

    Args:
        longest: tokens of the longest document.
        buckets: of distances, of which there are twice as many; 0 or less for one row a distance.
        max_distance: the largest one that has a row of its own, or a bucket.

    Returns:
        int64 [2 longest - 1], of the distances from longest - 1 down.
    """
    from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position

    span = buckets if buckets > 0 else max_distance
    with torch.inference_mode(False):  # of which training could not use the tensor
        distances = torch.arange(longest - 1, -longest, -1)
        if buckets > 0:
            distances = make_log_bucket_position(distances, buckets, max_distance).long()
        return torch.clamp(distances + span, 0, 2 * span - 1)
