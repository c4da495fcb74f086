"""Start virtual cores, let them meet in a collective, and end; again and again: `python -m tests.xla.soak [RUNS]`.

What could hang or abort does so rarely, and never in the first run.
"""

import subprocess
import sys
import time

ONCE = """
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
        done = subprocess.run([sys.executable, "-c", ONCE], capture_output=True, text=True, timeout=120)
        if done.returncode:
            sys.exit(f"run {number} of {runs}: exit code {done.returncode}\n{done.stderr}")
        if number % 10 == 0 or number == runs:
            print(f"{number} of {runs} runs, {(time.monotonic() - began) / number:.1f} s each", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
