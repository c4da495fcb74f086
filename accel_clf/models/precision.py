"""Precisions that a kind of model cannot compute in."""

from accel_clf.config.schema import ModelConfig
from accel_clf.core.console import log
from accel_clf.core.errors import ConfigError
from accel_clf.core.process_env import is_main_process
from accel_clf.models.loading import read_model_type
from accel_clf.models.traits import ONLY_FP32


def precision_for(settings: ModelConfig, precision: str, setting: str = "training.precision") -> str:
    """Return the precision for a model: as asked for, but fp32 in place of auto where 16 bits fail.

    Args:
        settings: name the model.
        precision: "auto", "fp32", "bf16", "fp16" or "int8".
        setting: that has it, for messages.

    Raises:
        ConfigError: 16 bits are asked for, and fail.
    """
    if precision in ("fp32", "int8") or (kind := read_model_type(settings)) not in ONLY_FP32:
        return precision
    if precision != "auto":
        raise ConfigError(
            f"{setting} is {precision}, and {settings.name} is of the kind {kind}, whose code fails in 16 bits",
            "fp32",
            f"--{setting} fp32, or auto",
        )
    if is_main_process():
        log(f"{settings.name} computes in fp32: the code of its kind, {kind}, fails in 16 bits")
    return "fp32"
