"""Which kernels a model gets: one place for all of them."""

from typing import Any

from torch import nn

from accel_clf.models.families import FAMILIES, can_pack
from accel_clf.models.packed import PACKED, pack

NARROW = 64  # columns; without dropout, going from group to group takes longer than what it saves the demo's 48


def apply_layout(model: nn.Module, layout: str, asked: bool = False) -> tuple[str, str]:
    """Make a model take batches of a layout.

    Args:
        model: changed in place.
        layout: what it should take.
        asked: whether somebody wants just that; otherwise packing must pay.

    Returns:
        The layout that it takes, which is padded where packed cannot be or does not pay, and why.
    """
    config: Any = model.config
    if layout != PACKED:
        return layout, "as set" if asked else "what suits the device"
    if not can_pack(model):
        return "padded", f"{config.model_type} is none of {', '.join(FAMILIES)}, which can be packed"
    if not asked and config.hidden_size < NARROW and not _drops(config):
        return "padded", "too small an encoder to gain by packing"
    pack(model)
    return PACKED, "as set" if asked else "no padding"


def _drops(config: Any) -> bool:
    """Whether attention has dropout, for which torch has no kernel on a CPU."""
    return bool(getattr(config, "attention_probs_dropout_prob", 0) or getattr(config, "attention_dropout", 0))
