"""Peak memory of a run on 20,000 and on 200,000 rows, and of one fold and all five of a cross-validation.

python -m benchmarks.memory [--rows 20000 200000] [--words 150]
python -m benchmarks.memory --folds [--rows 2000] [--model FOLDER]

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

from accel_clf.core.console import format_table

TRAIN = """
import json, resource, sys
from accel_clf.config.load import load
from accel_clf.cross_validation.run import cross_validate
from accel_clf.training.trainer import train
config, what = load(None, json.loads(sys.argv[1])), sys.argv[2]
train(config) if what == "train" else cross_validate(config, None if what == "all" else int(what))
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


def peak(folder: Path, rows: int, words: int, model: str, what: str = "train") -> float:
    """Peak memory of one run, in MiB; `what` is "train", "all" folds, or the number of one."""
    path = folder / f"{rows}.csv"
    write(path, rows, words)
    settings = {
        "model": {"name": model},
        "data": {"train": str(path), "validation": 0.01, "max_length": 64},
        "batch": {"size": 64},
        "training": {"epochs": 1},
        "evaluation": {"baseline": False},
        "output": str(folder / f"{rows}-{what}"),
    }
    environment = {**os.environ, "ACCEL_CLF_CACHE": str(folder / "cache")}
    command = [sys.executable, "-c", TRAIN, json.dumps(settings), what]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=True)
    path.unlink()
    return float(json.loads(done.stdout.splitlines()[-1])) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 200_000])
    parser.add_argument("--words", type=int, default=150)
    parser.add_argument("--model", default="demo", help="a folder or Hub id")
    parser.add_argument("--folds", action="store_true", help="one fold and all five, on so many rows")
    given = parser.parse_args()
    runs = [(given.rows[0], what) for what in ("0", "all")] if given.folds else [(rows, "train") for rows in given.rows]
    with tempfile.TemporaryDirectory() as folder:
        peaks = [peak(Path(folder), rows, given.words, given.model, what) for rows, what in runs]
    named = [f"{rows:,}" + {"0": ", one fold", "all": ", all folds"}.get(what, "") for rows, what in runs]
    print(format_table(["rows", "peak MiB"], [[name, f"{mib:.0f}"] for name, mib in zip(named, peaks, strict=True)]))
    print(f"growth: {100 * (peaks[1] / peaks[0] - 1):+.1f}%")


if __name__ == "__main__":
    main()
