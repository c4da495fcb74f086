"""AdamW's parameter groups, and the learning rate as a function of the step."""

import math

import torch
from torch import nn

from accel_clf.config.schema import TrainingConfig


def make_optimizer(model: nn.Module, weight_decay: float) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter, 2019) with no decay for biases and norms, which are what has one dimension."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(
        [
            {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=0.0,  # set_lr sets it before every step
        # As in BERT's own training. Attention's key biases have no gradient but rounding noise; PyTorch's 1e-8 would
        # blow that up to steps of full size, and no two devices or numbers of processes would end alike.
        eps=1e-6,
        # One pass over the weights instead of ten. XLA, which has no such kernel, fuses by itself.
        fused=all(parameter.device.type != "xla" for parameter in trained),
    )


def scaled_lr(settings: TrainingConfig, processes: int) -> float:
    """The configured rate, scaled to the number of processes."""
    return settings.learning_rate * {"linear": processes, "sqrt": math.sqrt(processes), "none": 1}[settings.lr_scaling]


def lr_at(step: int, total: int, peak: float, warmup: float, schedule: str) -> float:
    """The learning rate of a step.

    Args:
        step: from 0.
        total: steps in the whole run.
        peak: the rate after the warm-up.
        warmup: the share of `total` over which the rate rises. The first step's is above zero.
        schedule: "linear", "cosine" or "constant".
    """
    rising = round(total * warmup)
    if step < rising:
        return peak * (step + 1) / (rising + 1)
    left = (total - step) / max(1, total - rising)
    return peak * {"linear": left, "cosine": (1 - math.cos(math.pi * left)) / 2, "constant": 1.0}[schedule]


def set_lr(optimizer: torch.optim.Optimizer, value: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = value
