"""What is installed here, and what a run would use and why."""

import os
import platform
from typing import Any

from accel_clf.data.tokens import cache_folder
from accel_clf.folder import versions
from accel_clf.hub import is_offline


def examine() -> dict[str, Any]:
    """Versions, devices, caches and choices."""
    import torch

    from accel_clf.strategies.accelerate import AccelerateStrategy

    strategy = AccelerateStrategy("auto")
    return {
        "python": platform.python_version(),
        "versions": versions(),
        "cpus": os.cpu_count(),
        "gpus": [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())],
        "hub": "offline" if is_offline() else os.environ.get("HF_ENDPOINT", "https://huggingface.co"),
        "cache": str(cache_folder()),
        "would use": f"accelerate: {strategy.chosen}, {strategy.layout} batches",
    }


def as_text(found: dict[str, Any]) -> str:
    lines = [f"python          {found['python']}"]
    lines += [f"{name:15} {version or 'not installed'}" for name, version in found["versions"].items()]
    lines += [
        f"{'cpus':15} {found['cpus']}",
        f"{'gpus':15} {', '.join(found['gpus']) or 'none'}",
        f"{'hub':15} {found['hub']}",
        f"{'cache':15} {found['cache']}",
        f"{'would use':15} {found['would use']}",
    ]
    return "\n".join(lines)
