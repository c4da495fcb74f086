"""MPNet, whose layers add one bias of relative positions to their scores."""

from collections.abc import Mapping
from typing import Any

import torch

from accel_clf.models.families.base import FeedForward, Heads, PositionTerms, Projections, RelativeFamily
from accel_clf.models.families.bert import Bert


class MPNet(Bert, RelativeFamily):
    def projections(self, layer: Any) -> Projections:
        attention = layer.attention.attn
        heads = Heads(attention.attention_head_size, attention.attention_head_size**-0.5, attention.dropout)
        return Projections(heads, attention.q, attention.k, attention.v)

    def feed_forward(self, layer: Any) -> FeedForward:
        return FeedForward(
            out=layer.attention.attn.o,
            attention_dropout=layer.attention.dropout,
            attention_norm=layer.attention.LayerNorm,
            up=layer.intermediate.dense,
            activation=layer.intermediate.intermediate_act_fn,
            down=layer.output.dense,
            dropout=layer.output.dropout,
            norm=layer.output.LayerNorm,
        )

    def finish(self, layer: Any, attended: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        attention = layer.attention
        attended = attention.LayerNorm(attention.dropout(attention.attn.o(attended)) + hidden)
        output: torch.Tensor = layer.output(layer.intermediate(attended), attended)
        return output

    def embed(self, base: Any, input_ids: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor:
        embedded: torch.Tensor = base.embeddings(input_ids, inputs["position_ids"])
        return embedded

    def positions(self, base: Any, longest: int) -> torch.Tensor:
        """Compute the bias of all pairs of tokens: [heads, longest, longest]."""
        encoder = base.encoder
        table = encoder.relative_attention_bias
        distances = torch.arange(1 - longest, longest, device=table.weight.device)  # of a key from a query
        # The encoder passes none: its 32 buckets are the default of this function, whatever the table's size.
        by_distance: torch.Tensor = table(encoder.relative_position_bucket(distances)).t()
        return by_distance.unfold(1, longest, 1).flip(1)

    def terms(self, layer: Any, positions: torch.Tensor) -> PositionTerms:
        return PositionTerms(None, None, positions)

    def first_terms(self, layer: Any, positions: torch.Tensor) -> PositionTerms:
        return PositionTerms(None, None, positions[:, 0])
