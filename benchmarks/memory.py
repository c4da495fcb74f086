"""Measure the peak memory of a run on 20,000 and on 200,000 rows, or of one fold and of all five of a cross-validation.

python -m benchmarks.memory [--rows 20000 200000] [--words 150]
python -m benchmarks.memory --folds [--rows 2000] [--model FOLDER]

Each run is a separate process that trains one epoch; its peak is the operating system's (resident set, memory-mapped
files included).
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

from accel_clf.core.console import format_table

SCRIPT = """
import json, resource, sys
from accel_clf.config.load import load
from accel_clf.cross_validation.run import cross_validate
from accel_clf.training.run import train
config, task = load(None, json.loads(sys.argv[1])), sys.argv[2]
train(config) if task == "train" else cross_validate(config, None if task == "all" else int(task))
print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))
"""


def write_rows(path: Path, rows: int, words: int) -> None:
    """Write rows of random words, of which no two are equal."""
    rng = random.Random(0)
    vocabulary = [f"{a}{b}" for a in ("ka", "lo", "mi", "nu", "pe") for b in ("ra", "so", "ti", "vu", "ze")]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for row in range(rows):
            writer.writerow([" ".join(rng.choices(vocabulary, k=words)) + f" {row}", row % 2])


def peak_memory(folder: Path, rows: int, words: int, model: str, task: str = "train") -> float:
    """Return one run's peak memory, in MiB; `task` is "train", "all" (folds), or a fold's number."""
    path = folder / f"{rows}.csv"
    write_rows(path, rows, words)
    settings = {
        "model": {"name": model},
        "data": {"train": str(path), "validation": 0.01, "max_length": 64},
        "batch": {"size": 64},
        "training": {"epochs": 1},
        "evaluation": {"baseline": False},
        "output": str(folder / f"{rows}-{task}"),
    }
    environment = {**os.environ, "ACCEL_CLF_CACHE": str(folder / "cache")}
    command = [sys.executable, "-c", SCRIPT, json.dumps(settings), task]
    process = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=True)
    path.unlink()
    return float(json.loads(process.stdout.splitlines()[-1])) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 200_000])
    parser.add_argument("--words", type=int, default=150, help="words per row")
    parser.add_argument("--model", default="demo", help="a folder or Hub id")
    parser.add_argument("--folds", action="store_true", help="one fold, then all five, on the first number of --rows")
    args = parser.parse_args()
    runs = [(args.rows[0], task) for task in ("0", "all")] if args.folds else [(rows, "train") for rows in args.rows]
    with tempfile.TemporaryDirectory() as folder:
        peaks = [peak_memory(Path(folder), rows, args.words, args.model, task) for rows, task in runs]
    names = [f"{rows:,}" + {"0": ", one fold", "all": ", all folds"}.get(task, "") for rows, task in runs]
    print(format_table(["rows", "peak MiB"], [[name, f"{mib:.0f}"] for name, mib in zip(names, peaks, strict=True)]))
    print(f"growth: {100 * (peaks[1] / peaks[0] - 1):+.1f}%")


if __name__ == "__main__":
    main()
