"""What is installed here, and what a run would use and why."""

import os
import platform
from importlib.util import find_spec
from typing import Any

from accel_clf.core.hub_errors import is_offline
from accel_clf.data.tokenization import cache_folder
from accel_clf.run_folder.layout import versions
from accel_clf.strategies.xla.virtual import tpu_chips


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
        "tpu chips": tpu_chips(),
        "would use": f"accelerate: {strategy.chosen}, {strategy.layout} batches"
        if not tpu_chips()
        else "accelerate: all TPU cores, bucketed batches",
        "strategy xla": _xla(),
    }


def _xla() -> str:
    if not find_spec("torch_xla"):
        return "no: torch_xla is not installed (pip install 'accel_clf[xla]', in an environment of its own)"
    if tpu_chips():
        return f"yes: {tpu_chips()} TPU chips"
    return "with --virtual_cores 8: there is no TPU"


def as_text(found: dict[str, Any]) -> str:
    lines = [f"python          {found['python']}"]
    lines += [f"{name:15} {version or 'not installed'}" for name, version in found["versions"].items()]
    lines += [
        f"{'cpus':15} {found['cpus']}",
        f"{'gpus':15} {', '.join(found['gpus']) or 'none'}",
        f"{'hub':15} {found['hub']}",
        f"{'cache':15} {found['cache']}",
        f"{'tpu chips':15} {found['tpu chips'] or 'none'}",
        f"{'would use':15} {found['would use']}",
        f"{'strategy xla':15} {found['strategy xla']}",
    ]
    return "\n".join(lines)
