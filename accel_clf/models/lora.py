"""LoRA (Hu et al., 2021) by peft: adapters beside an encoder's linear layers, saved alone and merged into them.

Adapters are put into the model itself, which keeps its class and the names of its modules: what a linear layer was is
then called `base_layer`. peft would wrap the model, and copy its head.
"""

import importlib.util
import json
import shutil
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from accel_clf.config.schema import LoraConfig, ModelConfig
from accel_clf.core.errors import ConfigError, closest
from accel_clf.core.files import disk_errors, read_json, write_json
from accel_clf.models import head
from accel_clf.models.families.registry import encoder_layers

NAME = "default"  # of the one adapter, which peft leaves out of the names in its files
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
BASE = "base.json"  # of ours, beside peft's: "digest", of the weights that the adapter was trained beside
PREFIX = "base_model.model."  # of all names in its files
LISTED = 8  # names in a message

Weights = dict[str, torch.Tensor]


def add_adapters(model: nn.Module, settings: LoraConfig, seed: int) -> None:
    """Put an adapter beside each of a model's linear layers that are to have one, and freeze the encoder; in place.

    An adapter adds nothing to its layer's output until it is trained.

    Args:
        model: an encoder with a head, which is trained itself.
        settings: the adapters'.
        seed: draws their weights.

    Raises:
        ConfigError: peft is not installed, or the model has no such linear layers.
    """
    if not is_installed():
        raise ConfigError("model.lora.rank is set, and peft is not installed", fix="pip install 'accel_clf[lora]'")
    from peft import inject_adapter_in_model

    head_modules(model)  # which can be saved
    torch.manual_seed(seed)
    inject_adapter_in_model(_peft_config(settings, targets(model, settings.modules)), model, NAME)
    for layer in adapted(model).values():
        layer.cast_input_dtype_enabled = False  # to float32, from where autocast would take it back
    for name, parameter in model.named_parameters():
        if head.contains(model, name):
            parameter.requires_grad_(True)


def is_installed() -> bool:
    """Whether peft is there."""
    return importlib.util.find_spec("peft") is not None


def targets(model: nn.Module, modules: Sequence[str] | None) -> list[str]:
    """Return the names of the linear layers that get an adapter.

    Args:
        model: an encoder with a head.
        modules: the setting model.lora.modules.

    Raises:
        ConfigError: there are none, or none of one of these names.
    """
    linears = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and not head.contains(model, f"{name}.weight")
    ]
    if modules is None:
        layers = {id(module) for layer in encoder_layers(model) for module in layer.modules()}
        names = [name for name in linears if id(model.get_submodule(name)) in layers]
        if not names:
            raise ConfigError(
                "model.lora.rank is set, and the encoder's layers have no linear layer that could have an adapter",
                "an encoder of linear layers",
                "--model.lora.rank null, or --model.freeze",
            )
        return names
    ends = list(dict.fromkeys(name.rpartition(".")[2] for name in linears))
    for module in modules:
        if not any(_is_named(name, module) for name in linears):
            known = ", ".join(ends[:LISTED]) + (", ..." if len(ends) > LISTED else "")
            raise ConfigError(
                f"model.lora.modules has {module!r}, and the encoder has no linear layer of that name",
                f"names, or their ends, of its linear layers: {known}",
                closest(module, ends),
            )
    return [name for name in linears if any(_is_named(name, module) for module in modules)]


def _is_named(name: str, module: str) -> bool:
    return f".{name}".endswith(f".{module}")


def _peft_config(settings: LoraConfig, names: Sequence[str], **others: Any) -> Any:
    """Make peft's own settings."""
    from peft import LoraConfig as PeftConfig

    return PeftConfig(
        task_type="SEQ_CLS",
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=list(names),
        **others,
    )


def head_modules(model: nn.Module) -> list[str]:
    """Return the names of the modules that the head consists of, each the largest that holds nothing else.

    Raises:
        ConfigError: a weight is of no such module.
    """
    parameters = {name: head.contains(model, name) for name, _ in model.named_parameters()}
    modules: dict[str, None] = {}
    for name in (name for name, is_head in parameters.items() if is_head):
        parts = name.split(".")
        prefixes = (".".join(parts[:size]) for size in range(1, len(parts)))
        of_head = (
            prefix
            for prefix in prefixes
            if all(is_head for other, is_head in parameters.items() if other.startswith(f"{prefix}."))
        )
        if (module := next(of_head, None)) is None:
            raise ConfigError(
                f"model.lora.rank is set, and the head's weight {name} is of no module that peft could save",
                "a head of modules of its own",
                "--model.lora.rank null, or --model.freeze",
            )
        modules[module] = None
    return list(modules)


def adapted(model: nn.Module) -> dict[str, Any]:
    """Return a model's linear layers with adapters, as peft wraps them, by name."""
    return {name: module for name, module in model.named_modules() if hasattr(module, "lora_A")}


def weight_of(linear: Any) -> torch.Tensor:
    """Return the weight that a linear layer multiplies by, its active adapter's part included."""
    weight: torch.Tensor = linear.weight
    if not hasattr(linear, "lora_A"):
        return weight
    for adapter in linear.active_adapters:  # in merge's order of operations
        weight = weight + linear.lora_B[adapter].weight @ linear.lora_A[adapter].weight * linear.scaling[adapter]
    return weight


def has_dropout(model: nn.Module) -> bool:
    """Whether a model is to be trained with dropout of its adapters' inputs."""
    return any(
        getattr(dropout, "p", 0) and layer.lora_A[name].weight.requires_grad
        for layer in adapted(model).values()
        for name, dropout in layer.lora_dropout.items()
    )


def merged(weights: Weights, settings: LoraConfig) -> Weights:
    """Return weights of a model without adapters that computes what one with them does, by their names there.

    Args:
        weights: of a model with adapters; or of one without, which are returned as they are.
        settings: the adapters'.
    """
    result: Weights = {}
    for name, tensor in weights.items():
        layer, is_base, parameter = name.rpartition(".base_layer.")
        if is_base and parameter == "weight":
            a, b = (weights[f"{layer}.{part}.{NAME}.weight"].float() for part in ("lora_A", "lora_B"))
            tensor = tensor + b @ a * _scaling(settings)
        if ".lora_A." not in name and ".lora_B." not in name:
            result[f"{layer}.{parameter}" if is_base else name] = tensor
    return result


def _scaling(settings: LoraConfig) -> float:
    assert settings.rank, "there are adapters"
    return settings.alpha / settings.rank


def adapter_of(model: nn.Module, weights: Weights) -> Weights:
    """Return what an adapter's file has: the weights of adapters and head, among all weights of a model."""
    return {name: tensor for name, tensor in weights.items() if ".lora_" in name or head.contains(model, name)}


def save_adapter(folder: Path, model: nn.Module, adapter: Weights, settings: ModelConfig, base_digest: str) -> None:
    """Write an adapter and the head in peft's format.

    Args:
        folder: replaced once the new one is complete.
        model: with adapters.
        adapter: see `adapter_of`; on the host.
        settings: the adapters', and the name of the model that they were trained beside.
        base_digest: of that model's weights.
    """
    unfinished, former = folder.with_name(f".{folder.name}-new"), folder.with_name(f".{folder.name}-former")
    for leftover in (unfinished, former):  # of a process that was killed here
        shutil.rmtree(leftover, ignore_errors=True)
    unfinished.mkdir(parents=True)
    config = _peft_config(
        settings.lora,
        list(adapted(model)),
        modules_to_save=head_modules(model),
        base_model_name_or_path=settings.name,
        inference_mode=True,
    )
    values = {key: sorted(value) if isinstance(value, set) else value for key, value in config.to_dict().items()}
    (unfinished / CONFIG).write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    tensors = {PREFIX + name.replace(f".{NAME}.", "."): tensor.contiguous() for name, tensor in adapter.items()}
    with disk_errors(unfinished):
        save_file(tensors, unfinished / WEIGHTS, {"format": "pt"})
    write_json(unfinished / BASE, {"digest": base_digest})
    if folder.exists():
        folder.rename(former)
    unfinished.rename(folder)
    shutil.rmtree(former, ignore_errors=True)


def read_adapter(folder: Path) -> Weights:
    """Read what `save_adapter` has written, by its names in the model."""
    return {_name_in_model(name): tensor for name, tensor in load_file(folder / WEIGHTS).items()}


def _name_in_model(name: str) -> str:
    name = name.removeprefix(PREFIX)
    return name.replace(".weight", f".{NAME}.weight") if ".lora_" in name else name


def base_digest(folder: Path) -> str | None:
    """Return the digest of what an adapter was trained beside; None where there is no adapter of ours."""
    return str(read_json(folder / BASE)["digest"]) if (folder / BASE).is_file() else None


def attach(model: nn.Module, adapters: Mapping[str, Path], settings: LoraConfig) -> Any:
    """Turn the merged model of an adapter into the one it was trained beside, and put adapters there; in place.

    Nothing is needed but what is in the runs' folders: the first adapter is taken out of the model again, whose weights
    are then those of the original but for their rounding.

    Args:
        model: merged from the first adapter, as it was saved.
        adapters: name -> folder; the first is active.
        settings: the adapters'.

    Returns:
        What selects one of them by `set_adapter`.
    """
    from peft import PeftModel

    first, *others = adapters
    weights, state = read_adapter(adapters[first]), model.state_dict()
    for name, a in weights.items():
        layer, is_adapter, _ = name.partition(".lora_A.")
        if is_adapter:
            state[f"{layer}.weight"] -= weights[f"{layer}.lora_B.{NAME}.weight"] @ a * _scaling(settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft 0.21 uses a name that transformers has given up
        selector = PeftModel.from_pretrained(model, adapters[first], adapter_name=first)
        for name in others:
            selector.load_adapter(adapters[name], adapter_name=name)
    return selector
