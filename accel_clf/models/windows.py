"""A model whose outputs are those of texts, not of their windows."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from accel_clf.config.schema import WindowsConfig


def pool_windows(model: nn.Module, windows: WindowsConfig) -> None:
    """Make a model take `members` (see data.windows.split_windows) and answer for rows; in place.

    The loss is then of rows, so that a long text weighs as much as a short one. A batch without members is answered as
    before, to the bit.

    Args:
        model: a classifier.
        windows: how the windows' outputs are taken together, if there are windows.
    """
    if windows.stride is None:
        return
    model.forward = PooledWindows(model.forward, windows.pool)


class PooledWindows:
    """A model's forward that takes `members`, too.

    Args:
        forward: the model's own.
        pool: "mean" or "max".
    """

    def __init__(self, forward: Callable[..., Any], pool: str) -> None:
        self.forward, self.pool = forward, pool

    def __call__(self, *args: Any, members: torch.Tensor | None = None, **kwargs: Any) -> Any:
        output = self.forward(*args, **kwargs)
        if members is not None:
            with torch.autocast(members.device.type, enabled=False):
                output.logits = pool(output.logits.float(), members, self.pool)
        return output


def pool(logits: torch.Tensor, members: torch.Tensor, how: str) -> torch.Tensor:
    """Take windows' outputs together: float32 [rows, outputs].

    Args:
        logits: float32 [windows, outputs].
        members: bool [rows, windows], which row each window is of.
        how: "mean" or "max".
    """
    if how == "max":
        return logits.masked_fill(~members[:, :, None], -torch.inf).amax(dim=1)
    return members.float() @ logits / members.sum(dim=1, keepdim=True)
