"""AdamW's parameter groups, and the learning rate as a function of the step."""

import math
from collections.abc import Callable

import torch
from torch import nn

from accel_clf.config.schema import TrainingConfig
from accel_clf.models import head
from accel_clf.models.families.registry import weight_depths


def make_optimizer(
    model: nn.Module, weight_decay: float, head_lr_multiplier: float = 1.0, layer_decay: float = 1.0
) -> torch.optim.AdamW:
    """Make AdamW (Loshchilov & Hutter, 2019) without decay for biases and norms, which are what has one dimension.

    Args:
        model: whose weights are trained, but for those that are frozen.
        weight_decay: of all others.
        head_lr_multiplier: of the head's learning rate.
        layer_decay: of the learning rate, from each layer to the one below (Clark et al., 2020); the head's stays.
    """
    depths = {} if layer_decay == 1 else weight_depths(model)
    top = max(depths.values(), default=0)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decay = weight_decay if parameter.ndim > 1 else 0.0
            multiplier = head_lr_multiplier if head.contains(model, name) else 1.0
            if depths:
                multiplier *= layer_decay ** (top - depths[name])
            groups.setdefault((decay, multiplier), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": parameters, "weight_decay": decay, "lr_multiplier": multiplier}
            for (decay, multiplier), parameters in groups.items()
        ],
        lr=0.0,  # set_lr sets it before every step
        # As in BERT's own training. Attention's key biases have no gradient but rounding noise; PyTorch's 1e-8 would
        # turn that into steps of full size, and no two devices or numbers of processes would end alike.
        eps=1e-6,
        # One pass over the weights instead of ten. XLA, which has no such kernel, fuses by itself.
        fused=all(parameter.device.type != "xla" for parameter in model.parameters()),
    )


def optimizer_for(settings: TrainingConfig) -> Callable[[nn.Module], torch.optim.Optimizer]:
    """Return what makes a model's optimizer by a run's settings."""
    return lambda model: make_optimizer(
        model, settings.weight_decay, settings.head_lr_multiplier or 1.0, settings.layer_decay
    )


def scaled_lr(settings: TrainingConfig, processes: int) -> float:
    """Scale the configured learning rate to the number of processes."""
    assert settings.learning_rate is not None, "training.prepare.resolve fills it in"
    return settings.learning_rate * {"linear": processes, "sqrt": math.sqrt(processes), "none": 1}[settings.lr_scaling]


def lr_at(step: int, total: int, peak: float, warmup: float, schedule: str) -> float:
    """Compute the learning rate of a step.

    Args:
        step: from 0.
        total: steps of the whole run.
        peak: the rate after the warm-up.
        warmup: the share of `total` over which the rate rises; the first step's is above zero.
        schedule: "linear", "cosine" or "constant".
    """
    warmup_steps = round(total * warmup)
    if step < warmup_steps:
        return peak * (step + 1) / (warmup_steps + 1)
    remaining = (total - step) / max(1, total - warmup_steps)
    factor = {"linear": remaining, "cosine": (1 - math.cos(math.pi * remaining)) / 2, "constant": 1.0}[schedule]
    return peak * factor


def set_lr(optimizer: torch.optim.Optimizer, value: float) -> None:
    """Set the learning rate of all parameter groups to that of the encoder's, times each group's multiplier."""
    for group in optimizer.param_groups:
        group["lr"] = value * group["lr_multiplier"]
