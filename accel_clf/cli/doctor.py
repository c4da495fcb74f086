"""accel-clf doctor: what is installed here, and what a run would use and why."""

import json
import os
import platform
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from accel_clf.cli.arguments import parser_for
from accel_clf.core.cache import cache_folder
from accel_clf.core.command import run_command
from accel_clf.core.exit_codes import DONE
from accel_clf.core.hub_errors import is_offline
from accel_clf.run_folder.environment import versions
from accel_clf.strategies.xla.detect import tpu_chips


def main(argv: Sequence[str]) -> int:
    """Show versions, devices and choices; the exit code."""
    return run_command(lambda: _doctor(argv), debug="--debug" in argv)


def _doctor(argv: Sequence[str]) -> int:
    parser = parser_for("doctor", "Show versions, devices, and what a run would use and why.")
    parser.add_argument("--json", action="store_true", help="print as JSON")
    arguments = parser.parse_args(argv)
    report = examine()
    print(json.dumps(report) if arguments.json else as_text(report))
    return DONE


def examine() -> dict[str, Any]:
    """Report versions, devices, caches and choices."""
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
        "would use": f"accelerate: {strategy.description}, {strategy.layout} batches"
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


def as_text(report: dict[str, Any]) -> str:
    """Write the report, a line per entry."""
    lines = [f"python          {report['python']}"]
    lines += [f"{name:15} {version or 'not installed'}" for name, version in report["versions"].items()]
    lines += [
        f"{'cpus':15} {report['cpus']}",
        f"{'gpus':15} {', '.join(report['gpus']) or 'none'}",
        f"{'hub':15} {report['hub']}",
        f"{'cache':15} {report['cache']}",
        f"{'tpu chips':15} {report['tpu chips'] or 'none'}",
        f"{'would use':15} {report['would use']}",
        f"{'strategy xla':15} {report['strategy xla']}",
    ]
    return "\n".join(lines)
