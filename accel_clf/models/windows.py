"""A model whose outputs are those of texts, not of their windows."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn

from accel_clf.config.schema import WindowsConfig
from accel_clf.core.errors import ConfigError
from accel_clf.models.head import last_linear

ATTENTION = "window_attention"  # the weight that pool: attention adds to a model


def pool_windows(model: nn.Module, windows: WindowsConfig, saved: Path | None = None) -> None:
    """Make a model take `members` (see data.windows.split_windows) and answer for rows; in place.

    The loss is then of rows, so that a long text weighs as much as a short one. A batch without members is answered as
    before, to the bit.

    Args:
        model: a classifier on the host, still without a layout.
        windows: how the windows' outputs are taken together, if there are windows.
        saved: the folder that the model was read from, after its training.

    Raises:
        ConfigError: pool is attention, and the head does not end in a linear layer of one vector a window.
    """
    if windows.stride is None:
        return
    linear = _add_attention(model, saved) if windows.pool == "attention" else None
    model.forward = PooledWindows(model, windows.pool, linear)


class PooledWindows:
    """A model's forward that takes `members`, too.

    Args:
        model: the model, whose own forward is called.
        pool: "mean", "max" or "attention".
        linear: the name of the layer that reads the states which attention goes by.
    """

    def __init__(self, model: nn.Module, pool: str, linear: str | None) -> None:
        self.model, self.forward, self.pool, self.linear = model, model.forward, pool, linear

    def __call__(self, *args: Any, members: torch.Tensor | None = None, **kwargs: Any) -> Any:
        with inputs_of(self.model, self.linear) as states:
            output = self.forward(*args, **kwargs)
        if members is not None:
            with torch.autocast(members.device.type, enabled=False):
                relevance = states[0].float() @ self._weight() if self.linear else None
                output.logits = pool(output.logits.float(), members, self.pool, relevance)
        elif self.linear and self.model.training:  # processes wait for its gradient, whatever their texts' lengths
            output.logits = output.logits + 0.0 * self._weight().sum()
        return output

    def _weight(self) -> torch.Tensor:
        return self.model.get_parameter(ATTENTION)


@contextmanager
def inputs_of(model: nn.Module, name: str | None) -> Iterator[list[torch.Tensor]]:
    """Keep what a layer reads while the block runs; nothing without a name."""
    inputs: list[torch.Tensor] = []
    if name is None:
        yield inputs
        return
    # By name in each call: quantizing puts other modules in the place of linear ones.
    hook = model.get_submodule(name).register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    try:
        yield inputs
    finally:
        hook.remove()


def _add_attention(model: nn.Module, saved: Path | None) -> str:
    """Add the weight that says how much a window's state matters; return the name of the layer that reads that state.

    It begins with zeros: the mean.
    """
    name = last_linear(model)
    with inputs_of(model, name) as states:
        last_linear(model)
    if name is None or states[0].dim() != 2:
        raise ConfigError(
            f"data.windows.pool is attention, and {type(model).__name__}'s head does not end in a layer of one vector",
            "mean or max",
            "--data.windows.pool mean",
        )
    weight = _saved_attention(saved) if saved else torch.zeros(states[0].shape[1])
    model.register_parameter(ATTENTION, nn.Parameter(weight))
    return name


def _saved_attention(folder: Path) -> torch.Tensor:
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as weights:
            if ATTENTION in weights.keys():  # noqa: SIM118 - no mapping
                tensor: torch.Tensor = weights.get_tensor(ATTENTION)
                return tensor
    raise ConfigError(f"{folder}: there is no weight {ATTENTION}", "that of a run with data.windows.pool: attention")


def pool(logits: torch.Tensor, members: torch.Tensor, how: str, relevance: torch.Tensor | None = None) -> torch.Tensor:
    """Take windows' outputs together: float32 [rows, outputs].

    Args:
        logits: float32 [windows, outputs].
        members: bool [rows, windows], which row each window is of.
        how: "mean", "max" or "attention": the mean by weights, which are the softmax of `relevance`.
        relevance: float32 [windows]; for "attention" only.
    """
    if how == "max":
        return logits.masked_fill(~members[:, :, None], -torch.inf).amax(dim=1)
    if relevance is not None:
        return relevance.expand_as(members).masked_fill(~members, -torch.inf).softmax(dim=1) @ logits
    return members.float() @ logits / members.sum(dim=1, keepdim=True)
