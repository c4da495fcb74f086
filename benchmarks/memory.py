"""Peak memory of a run on 20,000 and on 200,000 rows.

python -m benchmarks.memory [--rows 20000 200000] [--words 150]

Each run is a process of its own and trains one epoch; its peak is what the operating system counted (resident set,
memory-mapped files included).
"""

import argparse
import csv
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from accel_clf.report import table

TRAIN = """
import json, resource, sys
from accel_clf.config import load
from accel_clf.run import train
train(load(None, json.loads(sys.argv[1])))
print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))
"""


def write(path: Path, rows: int, words: int) -> None:
    draw = random.Random(0)
    vocabulary = [f"{a}{b}" for a in ("ka", "lo", "mi", "nu", "pe") for b in ("ra", "so", "ti", "vu", "ze")]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for row in range(rows):
            writer.writerow([" ".join(draw.choices(vocabulary, k=words)) + f" {row}", row % 2])


def peak(folder: Path, rows: int, words: int) -> float:
    """Peak memory of one run, in MiB."""
    path = folder / f"{rows}.csv"
    write(path, rows, words)
    settings = {
        "model": {"name": "demo"},
        "data": {"train": str(path), "validation": 0.01, "max_length": 64},
        "batch": {"size": 64},
        "training": {"epochs": 1},
        "evaluation": {"baseline": False},
        "output": str(folder / str(rows)),
    }
    environment = {**os.environ, "ACCEL_CLF_CACHE": str(folder / "cache")}
    command = [sys.executable, "-c", TRAIN, json.dumps(settings)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=True)
    path.unlink()
    return float(json.loads(done.stdout.splitlines()[-1])) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs=2, default=[20_000, 200_000])
    parser.add_argument("--words", type=int, default=150)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        peaks = [peak(Path(folder), rows, given.words) for rows in given.rows]
    print(
        table(["rows", "peak MiB"], [[f"{rows:,}", f"{mib:.0f}"] for rows, mib in zip(given.rows, peaks, strict=True)])
    )
    print(f"growth: {100 * (peaks[1] / peaks[0] - 1):+.1f}%")


if __name__ == "__main__":
    main()
