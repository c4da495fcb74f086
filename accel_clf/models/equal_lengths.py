"""Rows of equal length by themselves, for models whose answer for a row depends on the padding beside it."""

from typing import Any

import torch
from torch import nn

from accel_clf.core.errors import ConfigError
from accel_clf.models.checks import max_positions
from accel_clf.models.traits import READS_PADDING, SHORTEST_ROW, model_type

MARK = "_answers_equal_lengths"


def reads_padding(model: nn.Module, padding_side: str) -> bool:
    """Whether a model's answer for a row depends on padding: by its design, or since positions count from the left."""
    return model_type(model) in READS_PADDING or (padding_side == "left" and max_positions(model) is not None)


def answer_equal_lengths(model: nn.Module) -> None:
    """Make a model answer the rows of each length by themselves, without padding; in place.

    A batch stays what it was: the rows of a step, and what the loss is divided by. A batch of rows of one length is
    answered as before, to the bit.

    Args:
        model: a classifier.
    """
    forward, shortest = model.forward, SHORTEST_ROW.get(model_type(model), 1)

    def by_length(*args: Any, attention_mask: torch.Tensor | None = None, **kwargs: Any) -> Any:
        if attention_mask is None or (attention_mask.shape[1] >= shortest and attention_mask.all()):
            return forward(*args, attention_mask=attention_mask, **kwargs)
        lengths = attention_mask.sum(dim=1)
        parts, order = [], []
        for length in sorted(set(lengths.tolist())):
            rows = (lengths == length).nonzero()[:, 0]
            is_token = attention_mask[rows].bool()
            inputs = {name: value[rows][is_token].view(len(rows), length) for name, value in kwargs.items()}
            inputs["attention_mask"] = attention_mask.new_ones(len(rows), length)
            if length < shortest:
                inputs = {name: nn.functional.pad(value, (0, shortest - length)) for name, value in inputs.items()}
            output = forward(*args, **inputs)
            parts.append(output.logits)
            order.append(rows)
        output.logits = torch.cat(parts)[torch.cat(order).argsort()]
        return output

    model.forward = by_length
    setattr(model, MARK, True)


def check_hardware(model: nn.Module, name: str, *, is_compiled: bool, is_sharded: bool) -> None:
    """Check that batches of several lengths can be divided where a model runs.

    Raises:
        ConfigError: a compiler would make a graph for each length, or processes would wait for each other's weights.
    """
    if getattr(model, MARK, False) and (is_compiled or is_sharded):
        where = "XLA, which compiles a graph for each shape" if is_compiled else "FSDP, whose processes run in step"
        raise ConfigError(
            f"{name}: {model_type(model)} answers rows of each length by themselves, and not on {where}",
            "a CPU or GPUs, by DDP where there are several",
        )
