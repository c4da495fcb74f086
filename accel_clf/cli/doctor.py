"""accel-clf doctor: what is installed here, and what a run would use and why; or what a data set is like."""

import json
import os
import platform
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from accel_clf.config.flags import Parser, parse
from accel_clf.config.load import load
from accel_clf.core.cache import cache_folder
from accel_clf.core.command import run_command
from accel_clf.core.errors import ConfigError
from accel_clf.core.exit_codes import DATA, DONE
from accel_clf.core.hub_errors import is_offline
from accel_clf.core.process_env import cpu_requested
from accel_clf.run_folder.environment import versions
from accel_clf.strategies.xla.detect import tpu_chips, tpu_devices, tpu_host

DESCRIPTION = (
    "Show versions, devices, and what a run would use and why. With data: what it is like, what a run would make of "
    "it, and whether it could be trained on, by the settings of `train`."
)


def main(argv: Sequence[str]) -> int:
    """Show versions, devices and choices, or what a data set is like; the exit code."""
    return run_command(lambda: _doctor(argv), debug="--debug" in argv)


def _doctor(argv: Sequence[str]) -> int:
    config, arguments = parse(argv, "accel-clf doctor", DESCRIPTION, _add_flags)
    if not arguments.source and getattr(arguments, "data.train", None) is None:
        if config != load(None, {}):
            raise ConfigError("settings, and no data to examine", "DATA, or CONFIG.yaml")
        report = examine()
        print(json.dumps(report) if arguments.json else as_text(report))
        return DONE

    from accel_clf.reports import data, data_text

    report = data.examine(config, arguments.languages)
    print(json.dumps(report, ensure_ascii=False) if arguments.json else data_text.data_text(report))
    return DATA if report["problems"] else DONE


def _add_flags(parser: Parser) -> None:
    parser.add_argument("--json", action="store_true", help="print as JSON")
    parser.add_argument("--languages", action="store_true", help="tell which languages the texts are in, too")


def examine() -> dict[str, Any]:
    """Report versions, devices, caches and choices."""
    import torch

    from accel_clf.strategies.accelerate import AccelerateStrategy

    strategy = AccelerateStrategy("auto")
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    others = [accelerator.type] if accelerator else []  # mps, xpu ...
    return {
        "python": platform.python_version(),
        "versions": versions(),
        "cpus": os.cpu_count(),
        "gpus": [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())] or others,
        "hub": "offline" if is_offline() else os.environ.get("HF_ENDPOINT", "https://huggingface.co"),
        "cache": str(cache_folder()),
        "tpu chips": len(tpu_chips()),
        "tpu devices": tpu_devices(),
        "tpu": _tpu(),
        "would use": _tpu_run()
        if tpu_chips() and not cpu_requested()
        else f"accelerate: {strategy.description}, {strategy.layout} batches",
        "strategy xla": _xla(),
    }


def _tpu() -> str:
    """Describe this machine's chips, their devices, and the machine among those that share the TPU."""
    chips, host = tpu_chips(), tpu_host()
    if not chips:
        return "none"
    hosts = f"; host {host.number} of 0 to {host.hosts - 1}" if host.hosts > 1 else ""
    return f"chips: {len(chips)} ({chips[0].generation}), devices: {tpu_devices()}{hosts}"


def _tpu_run() -> str:
    """Say what a run on this TPU would use."""
    if not find_spec("torch_xla"):
        return "nothing: the TPU needs torch_xla"
    return f"accelerate: {_tpu_devices_of_run()}, bf16, bucketed batches"


def _tpu_devices_of_run() -> str:
    """Count the devices on all of the TPU's hosts."""
    hosts = tpu_host().hosts
    devices = tpu_devices() * hosts
    return f"{devices} TPU device{'s' if devices > 1 else ''}" + (f" on {hosts} hosts" if hosts > 1 else "")


def _xla() -> str:
    if not find_spec("torch_xla"):
        return "no: torch_xla is not installed (pip install 'accel_clf[xla]', in an environment of its own)"
    return f"yes: {_tpu_devices_of_run()}" if tpu_chips() else "with --virtual_cores 8: there is no TPU"


def as_text(report: dict[str, Any]) -> str:
    """Write the report, a line per entry."""
    lines = [f"python          {report['python']}"]
    lines += [f"{name:15} {version or 'not installed'}" for name, version in report["versions"].items()]
    lines += [
        f"{'cpus':15} {report['cpus']}",
        f"{'gpus':15} {', '.join(report['gpus']) or 'none'}",
        f"{'hub':15} {report['hub']}",
        f"{'cache':15} {report['cache']}",
        f"{'tpu':15} {report['tpu']}",
        f"{'would use':15} {report['would use']}",
        f"{'strategy xla':15} {report['strategy xla']}",
    ]
    return "\n".join(lines)
