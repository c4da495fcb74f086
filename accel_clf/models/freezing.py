"""Which of a model's weights are trained: all of them, those of the upper layers, or adapters and the head."""

from collections.abc import Collection
from hashlib import blake2b

import torch
from torch import nn

from accel_clf.config.schema import ModelConfig
from accel_clf.core.errors import ConfigError
from accel_clf.models import lora
from accel_clf.models.checkpointing import compute_layers_again
from accel_clf.models.families.registry import encoder_layers, weight_depths


def choose_trained(model: nn.Module, settings: ModelConfig, seed: int) -> None:
    """Freeze what is not trained, add adapters, and set up gradient checkpointing, as the settings say; in place.

    Args:
        model: an encoder with a head, all of which is trained.
        settings: the model's.
        seed: draws the adapters' weights.

    Raises:
        ConfigError: the model has no such layers, or cannot compute them again.
    """
    if settings.freeze is not None:
        _freeze_lowest(model, 0 if settings.freeze == "embeddings" else settings.freeze)
    if settings.lora.rank is not None:
        lora.add_adapters(model, settings.lora, seed)
    if settings.gradient_checkpointing:
        compute_layers_again(model)


def _freeze_lowest(model: nn.Module, count: int) -> None:
    """Freeze a model's embeddings and its `count` lowest layers."""
    depths = weight_depths(model)
    layers = len(encoder_layers(model))
    if count > layers:
        raise ConfigError(
            f"model.freeze is {count}, and the encoder has {layers} layers", f"at most {layers}, or embeddings"
        )
    for name, parameter in model.named_parameters():
        if depths[name] <= count:
            parameter.requires_grad_(False)


def frozen_names(model: nn.Module, settings: ModelConfig) -> frozenset[str]:
    """Name the weights that the settings keep from being trained; none where they train all of a model."""
    if settings.freeze is None and settings.lora.rank is None:
        return frozenset()  # what a model does not train by itself is saved as all of it is
    return frozenset(name for name, parameter in model.named_parameters() if not parameter.requires_grad)


def digest_of(model: nn.Module, names: Collection[str]) -> str:
    """Digest some of a model's weights."""
    digest = blake2b(digest_size=16)
    for name in sorted(names):
        tensor = model.get_parameter(name).detach()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def describe(model: nn.Module) -> str:
    """Say how much of a model is trained."""
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    total = sum(parameter.numel() for parameter in model.parameters())
    adapters = len(lora.adapted(model))
    what = f"adapters beside {adapters} linear layers, and the head" if adapters else "the upper layers and the head"
    return f"{what} are trained: {trained:,} of {total:,} weights ({trained / total:.1%})"
