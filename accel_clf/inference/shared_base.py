"""The folds of a cross-validation with LoRA: one model in memory, and an adapter and a head for each fold."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from accel_clf.config.schema import WindowsConfig
from accel_clf.core.console import log
from accel_clf.core.files import read_json
from accel_clf.models import lora
from accel_clf.models.head import KEPT_BESIDE
from accel_clf.run_folder.layout import ADAPTER, model_folder
from accel_clf.targets.registry import OPTIONS


class AdaptedModel(nn.Module):
    """A model with one of its adapters, which is selected when it is called.

    Args:
        model: with several adapters, on its device.
        selector: of them, see lora.attach.
        adapter: the name of this one.
    """

    def __init__(self, model: nn.Module, selector: Any, adapter: str) -> None:
        super().__init__()
        self.model, self.selector, self.adapter = model, selector, adapter

    def forward(self, **inputs: Any) -> Any:
        """Compute the model's outputs."""
        if self.selector.active_adapter != self.adapter:
            self.selector.set_adapter(self.adapter, inference_mode=True)
        return self.model(**inputs)


def can_share_base(runs: Sequence[Path], precision: str, windows: WindowsConfig) -> bool:
    """Whether runs can be adapters of one model in memory; otherwise each has its merged model.

    Args:
        runs: their folders.
        precision: of matrix products; adapters have none in int8.
        windows: of their texts; attention to them has a weight of its own in each fold.
    """
    if len(runs) < 2 or precision == "int8" or windows.pool == "attention" or not lora.is_installed():
        return False
    digests = {lora.base_digest(run / ADAPTER) for run in runs}
    if digests == {None}:
        return False
    configs = [read_json(model_folder(run) / "config.json") for run in runs]
    is_beside = any((config.get(OPTIONS) or {}).get(KEPT_BESIDE) for config in configs)
    if (
        len(digests) > 1
        or None in digests
        or is_beside
        or any(c["id2label"] != configs[0]["id2label"] for c in configs)
    ):
        log("warning: the folds' adapters are not of one model: each fold takes the memory of a whole one")
        return False
    return True
