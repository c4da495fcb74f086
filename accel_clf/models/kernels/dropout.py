"""Dropout on a CPU, where torch draws one number after another and a training step waits for it.

One 64-bit draw decides for four elements, by 16 bits each: a rate is rounded to a multiple of 1/65536.
"""

from math import prod
from typing import Any

import numpy as np
import torch
from torch import nn

LEVELS = 1 << 16


class DropoutMask:
    """Draws which elements dropout keeps, seeded by torch's generator and so by the step.

    Args:
        rate: the share of elements that is dropped, below 1.

    Attributes:
        scale: the factor of the kept elements, which preserves the mean.
    """

    def __init__(self, rate: float) -> None:
        self.dropped_levels = round(rate * LEVELS)
        self.scale = LEVELS / (LEVELS - self.dropped_levels)
        # SFC64 (Doty-Humphrey, 2010) passes the usual tests of randomness and is numpy's fastest.
        self.generator = np.random.Generator(np.random.SFC64(int(torch.empty((), dtype=torch.int64).random_())))

    def draw(self, shape: tuple[int, ...]) -> torch.Tensor:
        """Draw a mask: uint8 [shape], 1 for kept; torch converts it to floats five times as fast as bool."""
        words = self.generator.integers(0, 1 << 64, size=-(-prod(shape) // 4), dtype=np.uint64)
        kept = words.view(np.uint16)[: prod(shape)] >= self.dropped_levels
        return torch.from_numpy(kept.view(np.uint8)).view(shape)


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, rate: float) -> torch.Tensor:
        mask = DropoutMask(rate)
        ctx.mask, ctx.scale = mask.draw(tuple(values.shape)), mask.scale
        kept: torch.Tensor = ctx.mask.to(values.dtype).mul_(values).mul_(ctx.scale)
        return kept

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return ctx.mask.to(gradient.dtype).mul_(gradient).mul_(ctx.scale), None


class Dropout(nn.Dropout):
    """torch.nn.Dropout for tensors on a CPU."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        if not self.training or not 0 < self.p < 1:
            return super().forward(values)
        dropped: torch.Tensor = _Dropout.apply(values, self.p)  # type: ignore[no-untyped-call]
        return dropped


def replace_dropout(model: nn.Module) -> None:
    """Replace every torch.nn.Dropout of a model, in place."""
    for module in model.modules():
        for name, child in module.named_children():
            if type(child) is nn.Dropout:
                setattr(module, name, Dropout(child.p).train(child.training))
