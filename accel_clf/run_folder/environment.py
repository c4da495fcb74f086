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


def describe_environment(device: str, processes: int, step: int, total_steps: int) -> dict[str, Any]:
    """Describe what a run runs on.

    Args:
        device: as the strategy describes it.
        processes: the number of processes.
        step: the step that the run starts or resumes after.
        total_steps: that it will have taken, unless it stops early.

    Returns:
        The contents of environment.json.
    """
    return {
        "command": sys.argv,
        "host": platform.node(),
        "pid": os.getpid(),
        "from_step": step,
        "total_steps": total_steps,
        "device": device,
        "processes": processes,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "versions": versions(),
    }


def versions() -> dict[str, str | None]:
    """Return the versions of accel_clf and its main dependencies; None for those that are not installed."""
    by_name: dict[str, str | None] = {"accel_clf": __version__}
    for name in LIBRARIES:
        try:
            by_name[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            by_name[name] = None
    return by_name
