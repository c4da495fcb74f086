"""ALBERT, whose layers are few and called again and again."""

from typing import Any

import torch
from torch import nn

from accel_clf.models.families.base import FeedForward, Heads, PostNormFamily, Projections


class Albert(PostNormFamily):
    layouts = ("packed",)
    repeats_layers = True

    def layers(self, model: nn.Module) -> nn.ModuleList:
        base: Any = model.base_model
        return nn.ModuleList(layer for group in base.encoder.albert_layer_groups for layer in group.albert_layers)

    def projections(self, layer: Any) -> Projections:
        attention = layer.attention
        heads = Heads(attention.attention_head_size, attention.scaling, attention.attention_dropout)
        return Projections(heads, attention.query, attention.key, attention.value)

    def feed_forward(self, layer: Any) -> FeedForward:
        return FeedForward(
            out=layer.attention.dense,
            attention_dropout=layer.attention.output_dropout,
            attention_norm=layer.attention.LayerNorm,
            up=layer.ffn,
            activation=layer.activation,
            down=layer.ffn_output,
            dropout=nn.Identity(),
            norm=layer.full_layer_layer_norm,
        )

    def finish(self, layer: Any, attended: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        attention = layer.attention
        attended = attention.LayerNorm(attention.output_dropout(attention.dense(attended)) + hidden)
        output: torch.Tensor = layer.full_layer_layer_norm(layer.ff_chunk(attended) + attended)
        return output
