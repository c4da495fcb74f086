"""Start virtual cores, run collectives and end, many times: `python -m tests.xla.soak [RUNS]`.

Hangs and aborts are rare, and do not happen in the first run.
"""

import subprocess
import sys
import time

SCRIPT = """
import torch
from accel_clf.config.load import load
from accel_clf.strategies import launch

def work(strategy):
    for number in range(20):
        total = strategy.sum(torch.tensor([float(strategy.process), float(number)]))
        assert total.tolist() == [28.0, 8.0 * number], total

launch.choose(load(None, {"strategy": "xla", "virtual_cores": 8}))(work)
"""


def main(runs: int) -> None:
    began = time.monotonic()
    for number in range(1, runs + 1):
        process = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120)
        if process.returncode:
            sys.exit(f"run {number} of {runs}: exit code {process.returncode}\n{process.stderr}")
        if number % 10 == 0 or number == runs:
            print(f"{number} of {runs} runs, {(time.monotonic() - began) / number:.1f} s each", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
