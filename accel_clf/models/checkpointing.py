"""Gradient checkpointing: layers are computed again in the backward pass, so that only their inputs are kept."""

from functools import partial
from typing import Any

from torch import nn

from accel_clf.core.errors import ConfigError
from accel_clf.models.families.registry import encoder_layers


def compute_layers_again(model: Any) -> None:
    """Let a model compute its layers again, by transformers' own code; in place.

    Raises:
        ConfigError: it cannot.
    """
    if not getattr(model, "supports_gradient_checkpointing", False):
        raise ConfigError(
            f"model.gradient_checkpointing, and {type(model).__name__} has none",
            "a model that can compute its layers again",
            "--model.gradient_checkpointing false",
        )
    # The older name is deprecated in transformers 5.23; 5.0 has no other.
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})
    # Switched on for torch's reentrant kind; it would make frozen layers keep what they compute.
    model.disable_input_require_grads()


def compute_replaced_layers_again(model: nn.Module) -> None:
    """Let layers whose forward is a kernel's, which transformers' code does not see, be computed again, too; in place.

    Of the CPU's packed layout that is the last layer, which computes one token of each document: it is left out.
    """
    for layer in encoder_layers(model):
        if getattr(layer, "gradient_checkpointing", False) and "forward" in vars(layer):
            layer.forward = partial(_call, layer, layer.forward)


def _call(layer: Any, forward: Any, *args: Any, **options: Any) -> Any:
    if not layer.training:
        return forward(*args, **options)
    return layer._gradient_checkpointing_func(forward, *args, **options)
