"""How the families of encoders are built that have kernels of their own here."""

from typing import Any, NamedTuple

from torch import nn

FAMILIES = ("bert", "camembert", "distilbert", "electra", "roberta", "xlm-roberta")


def can_pack(model: nn.Module) -> bool:
    """Whether this forward knows the model: an encoder of one of FAMILIES, in transformers' own code."""
    config: Any = model.config
    return (
        config.model_type in FAMILIES
        and type(model).__module__.startswith("transformers.models.")
        and not getattr(config, "is_decoder", False)
        and not getattr(config, "chunk_size_feed_forward", 0)
    )


def stack_of(model: nn.Module) -> Any:
    """What holds a model's layers."""
    base: Any = model.base_model
    return base.transformer if hasattr(base, "transformer") else base.encoder


class Projections(NamedTuple):
    """What a layer's attention reads hidden states with, whatever its family calls it."""

    attention: Any
    query: nn.Linear
    key: nn.Linear
    value: nn.Linear


def projections_of(layer: Any) -> Projections:
    """Those of one of FAMILIES' layers."""
    if is_distilberts(layer):
        inner = layer.attention
        return Projections(inner, inner.q_lin, inner.k_lin, inner.v_lin)
    inner = layer.attention.self
    return Projections(inner, inner.query, inner.key, inner.value)


def is_distilberts(layer: Any) -> bool:
    return hasattr(layer, "sa_layer_norm")
