"""The device that computes here, and the precision of matrix products that suits it."""

import os
from typing import Any

import torch

from accel_clf.core.errors import ConfigError
from accel_clf.core.process_env import cpu_requested

WITHOUT_BF16 = "no instructions for bf16 here: fp32, which auto takes, is many times as fast"


def device_type() -> str:
    """Return the type of the device that computes here, unless it is told otherwise: "cpu", "cuda", "mps", "xpu" ..."""
    device = None if cpu_requested() else torch.accelerator.current_accelerator(check_available=True)
    return device.type if device else "cpu"


def choose_precision(setting: str, device: str) -> tuple[str, str]:
    """Choose Accelerate's `mixed_precision`, and say why.

    Args:
        setting: "auto", "fp32", "bf16" or "fp16".
        device: the type of the device that will compute.

    Raises:
        ConfigError: the device has no such precision.
    """
    if setting == "fp16" and device == "cpu":
        raise ConfigError("training.precision is fp16 and there is no GPU", "fp32 or bf16", "--training.precision auto")
    if setting == "bf16" and device == "cpu" and not fast_at_bf16(device):
        return setting, f"as set; {WITHOUT_BF16}"
    if setting != "auto":
        return ("no" if setting == "fp32" else setting), "as set"
    launched = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if launched in ("bf16", "fp16"):
        return launched, "as the launcher says"
    if device not in ("cpu", "cuda"):  # MPS's autocast has been silently wrong more than once, and nobody has measured
        return "no", f"safe on {device}; bf16 only as set"
    bf16 = fast_at_bf16(device)
    if device == "cuda":
        return ("bf16", "this GPU is fast at it") if bf16 else ("fp16", "this GPU has no bf16")
    return ("bf16", "this CPU is fast at it") if bf16 else ("no", "this CPU is not fast at bf16")


def fast_at_bf16(device: str | None = None) -> bool:
    """Whether a device is known to be fast at bf16 products, which on others take longer than those of fp32.

    Args:
        device: its type; None for the one that computes here.
    """
    device = device or device_type()
    cpu: Any = torch.cpu
    if device == "cpu":
        return bool(cpu._is_avx512_bf16_supported() or cpu._is_amx_tile_supported())
    return device == "cuda" and bool(torch.cuda.is_bf16_supported(including_emulation=False))
