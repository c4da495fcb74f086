"""What a run runs on: command, device, versions."""

import os
import platform
import sys
from importlib import metadata
from typing import Any

from accel_clf import __version__

LIBRARIES = (
    "torch",
    "torch_xla",
    "transformers",
    "accelerate",
    "datasets",
    "tokenizers",
    "safetensors",
    "scikit-learn",
    "numpy",
)


def describe_environment(chosen: str, processes: int, step: int) -> dict[str, Any]:
    """What a run runs on, from a step on."""
    return {
        "command": sys.argv,
        "from_step": step,
        "device": chosen,
        "processes": processes,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "versions": versions(),
    }


def versions() -> dict[str, str | None]:
    """The installed versions of accel_clf and what it stands on; None for what is not there."""
    found: dict[str, str | None] = {"accel_clf": __version__}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found
