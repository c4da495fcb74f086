"""Dropout on the CPU, where torch draws one number after another and a training step waits for it.

One 64-bit draw decides for four elements, by 16 bits each: a rate is rounded to a multiple of 1/65536.
"""

from math import prod
from typing import Any

import numpy as np
import torch
from torch import nn

LEVELS = 1 << 16


class DropoutMask:
    """What dropout keeps, seeded by torch's generator and so by the step.

    Args:
        rate: the share that is dropped, below 1.

    Attributes:
        scale: what the kept are multiplied by, so that the mean stays.
    """

    def __init__(self, rate: float) -> None:
        self.dropped = round(rate * LEVELS)
        self.scale = LEVELS / (LEVELS - self.dropped)
        # SFC64 (Doty-Humphrey, 2010) passes the usual tests of randomness and is numpy's fastest.
        self.generator = np.random.Generator(np.random.SFC64(int(torch.empty((), dtype=torch.int64).random_())))

    def mask(self, shape: tuple[int, ...]) -> torch.Tensor:
        """Which elements stay: uint8 [shape] of 1 and 0. torch makes floats of these five times as fast as of bool."""
        words = self.generator.integers(0, 1 << 64, size=-(-prod(shape) // 4), dtype=np.uint64)
        kept = words.view(np.uint16)[: prod(shape)] >= self.dropped
        return torch.from_numpy(kept.view(np.uint8)).view(shape)


class _Drop(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, rate: float) -> torch.Tensor:
        keep = DropoutMask(rate)
        ctx.mask, ctx.scale = keep.mask(tuple(values.shape)), keep.scale
        kept: torch.Tensor = ctx.mask.to(values.dtype).mul_(values).mul_(ctx.scale)
        return kept

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return ctx.mask.to(gradient.dtype).mul_(gradient).mul_(ctx.scale), None


class Dropout(nn.Dropout):
    """As torch's, for tensors on the CPU."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        if not self.training or not 0 < self.p < 1:
            return super().forward(values)
        dropped: torch.Tensor = _Drop.apply(values, self.p)  # type: ignore[no-untyped-call]
        return dropped


def replace_dropout(model: nn.Module) -> None:
    """Replace every torch.nn.Dropout in `model`, in place."""
    for module in model.modules():
        for name, child in module.named_children():
            if type(child) is nn.Dropout:
                setattr(module, name, Dropout(child.p).train(child.training))
