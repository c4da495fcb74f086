"""FSDP2: weights, gradients and optimizer state sharded among processes; what Accelerate 1.15 leaves to us.

By itself it shards what is on the model's own list, and with it, twice, a table of embeddings inside, which fails. Its
bf16 is no autocast but weights, sums of gradients and outputs in bf16: here it is autocast over float32 weights, as
everywhere else, and so sums are float32. And it gives the optimizer's state to rank 0 alone: all others fail to resume.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor, distribute_tensor

from accel_clf.models.families.registry import layer_classes


def configure(plugin: Any, model: nn.Module, device: torch.device, mixed_precision: str) -> None:
    """Set up Accelerate's plugin to shard a model layer by layer, and the model to compute as without FSDP.

    Args:
        plugin: of the accelerator's state.
        model: not yet prepared; its forward is changed in place.
        device: that it is on.
        mixed_precision: Accelerate's: "no" or "bf16".
    """
    plugin.transformer_cls_names_to_wrap = sorted(layer.__name__ for layer in layer_classes(model))
    plugin.mixed_precision_policy = None
    if mixed_precision == "bf16":
        model.forward = torch.autocast(device.type, torch.bfloat16)(model.forward)


@contextmanager
def undivided_embeddings(model: nn.Module) -> Iterator[None]:
    """Leave a model's table of embeddings to the unit of the whole model where Accelerate cannot shard it alone.

    That is where several modules share it, as encoder and decoder do, and where the model does not name it.
    """
    if _has_table_of_one_module(model):
        yield
        return
    hidden: Any = model
    hidden.get_input_embeddings = lambda: None
    try:
        yield
    finally:
        del hidden.get_input_embeddings


def _has_table_of_one_module(model: Any) -> bool:
    try:
        table = model.get_input_embeddings().weight
    except (AttributeError, NotImplementedError):
        return False
    return sum(weight is table for module in model.modules() for weight in module.parameters(recurse=False)) == 1


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """Gather a sharded tensor, on all processes; return any other as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def gather_to_host(tensors: Mapping[str, torch.Tensor], keep: bool) -> dict[str, torch.Tensor]:
    """Gather named tensors, one after another, so that the device holds no more than one of them whole.

    Args:
        tensors: of the same names on all processes.
        keep: whether this process wants them.

    Returns:
        Copies on the host; nothing unless `keep`.
    """
    gathered = {}
    for name, tensor in tensors.items():
        full = whole(tensor.detach())
        if keep:
            gathered[name] = full.to("cpu", copy=True)
    return gathered


def shard_like(tensor: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """Return this process's part of a tensor that all have, where the parameter of its shape is sharded."""
    if not isinstance(parameter, DTensor) or tensor.shape != parameter.shape:
        return tensor
    return distribute_tensor(tensor, parameter.device_mesh, parameter.placements, src_data_rank=None)
