"""How the encoders are built that have kernels here: one record per family.

To add a family whose layers are built like BERT's, add its `model_type` (of its config.json) to FAMILIES; for others
write a subclass of Family first. tests/models/test_packed.py then checks the kernels against transformers' own code.
"""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
from torch import nn


class Projections(NamedTuple):
    """What a layer's attention reads hidden states with; `attention` is the module that holds them."""

    attention: Any
    query: nn.Linear
    key: nn.Linear
    value: nn.Linear


class FeedForward(NamedTuple):
    """What follows a layer's attention, in its order; the input of the whole is added before each norm."""

    out: nn.Linear
    attention_dropout: nn.Module
    attention_norm: nn.Module
    up: nn.Linear
    activation: nn.Module
    down: nn.Linear
    dropout: nn.Module
    norm: nn.Module


class Family(ABC):
    """The parts of an encoder, whatever its family calls them."""

    @abstractmethod
    def layers(self, model: nn.Module) -> nn.ModuleList:
        """Return the layers of a model with a head."""

    @abstractmethod
    def projections(self, layer: Any) -> Projections:
        """Return the linear layers of a layer's attention."""

    @abstractmethod
    def feed_forward(self, layer: Any) -> FeedForward:
        """Return what follows a layer's attention."""

    @abstractmethod
    def finish(self, layer: Any, attended: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """Compute a layer's output from its attention's and its input, dropout included.

        Args:
            layer: the layer.
            attended: the heads' outputs next to each other, [..., width].
            hidden: the layer's input at the same positions, [..., width].
        """


class _Bert(Family):
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


class _DistilBert(Family):
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


FAMILIES: dict[str, Family] = {
    "bert": _Bert(),
    "camembert": _Bert(),
    "distilbert": _DistilBert(),
    "electra": _Bert(),
    "roberta": _Bert(),
    "xlm-roberta": _Bert(),
}


def family_of(model: nn.Module) -> Family | None:
    """Return the record of a model's family; None where the kernels do not know it.

    They know an encoder of one of FAMILIES, in transformers' own code, without options that change its layers.
    """
    config: Any = model.config
    is_known = (
        config.model_type in FAMILIES
        and type(model).__module__.startswith("transformers.models.")
        and not getattr(config, "is_decoder", False)
        and not getattr(config, "chunk_size_feed_forward", 0)
    )
    return FAMILIES[config.model_type] if is_known else None


def layer_classes(model: nn.Module) -> set[type[nn.Module]]:
    """Return the classes of a model's layers, which can be sharded one by one.

    Of a family here; otherwise those on the model's own list of what must not be divided, without those that hold
    embeddings, which belong to the whole model; and for a model without either those of its largest list of modules.
    """
    config: Any = model.config
    if family := FAMILIES.get(config.model_type):
        return {type(layer) for layer in family.layers(model)}
    own_list = getattr(model, "_no_split_modules", None) or ()
    listed = {type(module) for module in model.modules() if type(module).__name__ in own_list}
    with_embeddings = {
        type(module)
        for module in model.modules()
        if type(module) in listed and any(isinstance(inner, nn.Embedding) for inner in module.modules())
    }
    if layers := listed - with_embeddings:
        return layers
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList) and _is_uniform(module)]
    largest = max(lists, key=lambda layers: sum(weight.numel() for weight in layers.parameters()), default=())
    return {type(layer) for layer in largest}


def _is_uniform(modules: nn.ModuleList) -> bool:
    """Whether modules are layers of one class."""
    classes = {type(module) for module in modules}
    return len(classes) == 1 and nn.ModuleList not in classes
