"""Measure what a tracker costs whose server takes connections and never answers: MLflow, beside no tracker.

python -m benchmarks.hanging_tracker [--pairs 2] [-- FLAGS OF accel-clf train]

The runs take turns. What the tracker costs is the processor time of its process, and what the time between the results
and the end is longer; on a machine with other work believe these rather than the ratio of whole times.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil

from accel_clf.core.console import format_table

FLAGS = ("--evaluation.baseline", "false")


def measure(output: Path, flags: list[str], address: str) -> tuple[float, float, float, str]:
    """Train; return seconds of the whole, of the tracker's process and after the results, and what was printed last."""
    command = [sys.executable, "-m", "accel_clf.cli", "train", *FLAGS, *flags, "--output", str(output)]
    environment = os.environ | {"MLFLOW_TRACKING_URI": address}
    with Path(f"{output}.log").open("w+") as log:
        begun, cpu = time.time(), 0.0
        process = psutil.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=log)
        while process.poll() is None:
            with suppress(psutil.Error):
                times = [child.cpu_times() for child in process.children() if "follower" in " ".join(child.cmdline())]
                cpu = max(cpu, sum(of.user + of.system for of in times))
            time.sleep(0.05)
        ended = time.time()
        log.seek(0)
        warnings = [line for line in log.read().splitlines() if line.startswith("warning: mlflow")]
    assert process.returncode == 0
    return ended - begun, cpu, ended - (output / "metrics.json").stat().st_mtime, " ".join(warnings)


def main() -> int:
    arguments, flags = sys.argv[1:], []
    if "--" in arguments:
        arguments, flags = arguments[: arguments.index("--")], arguments[arguments.index("--") + 1 :]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=2)
    args = parser.parse_args(arguments)
    table, warning = [], ""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(100)
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        for pair in range(args.pairs):
            outcomes = {}
            for name, words in (("no tracker", []), ("MLflow, silent", ["--trackers", "mlflow"])):
                output = Path(folder) / f"{name.split()[0]}-{pair}"
                total, cpu, after, warning = measure(output, [*flags, *words], address)
                outcomes[name] = json.loads((output / "metrics.json").read_text())["training"]["weights_at_the_end"]
                table.append([name, f"{total:.1f}", f"{cpu:.2f}", f"{after:.2f}"])
            assert len(set(outcomes.values())) == 1, "a tracker must not change the model"
    print(format_table(["run", "seconds", "tracker's CPU", "after the results"], table))
    print(warning)
    return int(not warning)


if __name__ == "__main__":
    sys.exit(main())
