"""DistilBERT."""

from typing import Any

import torch
from torch import nn

from accel_clf.models.families.base import FeedForward, PostNormFamily, Projections


class DistilBert(PostNormFamily):
    def layers(self, model: nn.Module) -> nn.ModuleList:
        base: Any = model.base_model
        layers: nn.ModuleList = base.transformer.layer
        return layers

    def projections(self, layer: Any) -> Projections:
        attention = layer.attention
        return Projections(attention, attention.q_lin, attention.k_lin, attention.v_lin)

    def feed_forward(self, layer: Any) -> FeedForward:
        return FeedForward(
            out=layer.attention.out_lin,
            attention_dropout=nn.Identity(),
            attention_norm=layer.sa_layer_norm,
            up=layer.ffn.lin1,
            activation=layer.ffn.activation,
            down=layer.ffn.lin2,
            dropout=layer.ffn.dropout,
            norm=layer.output_layer_norm,
        )

    def finish(self, layer: Any, attended: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        attended = layer.sa_layer_norm(layer.attention.out_lin(attended) + hidden)
        output: torch.Tensor = layer.output_layer_norm(layer.ffn(attended) + attended)
        return output
