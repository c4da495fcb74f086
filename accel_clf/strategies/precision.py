"""The precision of matrix products that suits a device."""

import os
from typing import Any

import torch

from accel_clf.core.errors import ConfigError

WITHOUT_BF16 = "no instructions for bf16 here: fp32, which auto takes, is many times as fast"


def choose_precision(setting: str, on_cpu: bool) -> tuple[str, str]:
    """Choose Accelerate's `mixed_precision`, and say why.

    Args:
        setting: "auto", "fp32", "bf16" or "fp16".
        on_cpu: whether the CPU will compute, whatever else there is.

    Raises:
        ConfigError: the device has no such precision.
    """
    if setting == "fp16" and on_cpu:
        raise ConfigError("training.precision is fp16 and there is no GPU", "fp32 or bf16", "--training.precision auto")
    if setting == "bf16" and on_cpu and not fast_at_bf16(on_cpu):
        return setting, f"as set; {WITHOUT_BF16}"
    if setting != "auto":
        return ("no" if setting == "fp32" else setting), "as set"
    launched = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if launched in ("bf16", "fp16"):
        return launched, "as the launcher says"
    bf16 = fast_at_bf16(on_cpu)
    if not on_cpu and torch.cuda.is_available():
        return ("bf16", "this GPU is fast at it") if bf16 else ("fp16", "this GPU has no bf16")
    return ("bf16", "this CPU is fast at it") if bf16 else ("no", "this CPU is not fast at bf16")


def fast_at_bf16(on_cpu: bool = False) -> bool:
    """Whether the GPU, or the CPU, has instructions for bf16 products; others take longer for them than for fp32."""
    if not on_cpu and torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    cpu: Any = torch.cpu
    return bool(cpu._is_avx512_bf16_supported() or cpu._is_amx_tile_supported())
