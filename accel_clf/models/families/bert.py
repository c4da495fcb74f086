"""BERT, and those whose layers are built like its: RoBERTa, XLM-RoBERTa, CamemBERT, ELECTRA."""

from typing import Any

import torch
from torch import nn

from accel_clf.models.families.base import FeedForward, PostNormFamily, Projections


class Bert(PostNormFamily):
    def layers(self, model: nn.Module) -> nn.ModuleList:
        base: Any = model.base_model
        layers: nn.ModuleList = base.encoder.layer
        return layers

    def projections(self, layer: Any) -> Projections:
        attention = layer.attention.self
        return Projections(attention, attention.query, attention.key, attention.value)

    def feed_forward(self, layer: Any) -> FeedForward:
        after = layer.attention.output
        return FeedForward(
            out=after.dense,
            attention_dropout=after.dropout,
            attention_norm=after.LayerNorm,
            up=layer.intermediate.dense,
            activation=layer.intermediate.intermediate_act_fn,
            down=layer.output.dense,
            dropout=layer.output.dropout,
            norm=layer.output.LayerNorm,
        )

    def finish(self, layer: Any, attended: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = layer.feed_forward_chunk(layer.attention.output(attended, hidden))
        return output
