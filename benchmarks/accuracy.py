"""Accuracy beside the HF Trainer's: same rows, batch size, seed and hyper-parameters, one run after the other.

python -m benchmarks.accuracy --model FOLDER_OR_ID --train FILE [--rows 4000] [--validation FILE] [--seeds 0 1 2]

Order and dropout are drawn differently, so that one seed's difference is chance within a point or two of a few hundred
held-out rows; several seeds tell what is left of it.
"""

import argparse
import statistics
import tempfile

import torch

from accel_clf.config.load import load
from accel_clf.core.console import format_table
from benchmarks.training import ours, trainers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--train", required=True)
    parser.add_argument("--validation", default="0.2", help="a file, or a share of the rows")
    parser.add_argument("--rows", default="null", help="so many of them (default: all)")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--max_length", type=int, default=256)
    parser.add_argument("--learning_rate", type=float, default=5e-5)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    given = parser.parse_args()
    rows = None if given.rows == "null" else given.rows
    data = {"train": given.train, "validation": given.validation, "limit": rows, "max_length": given.max_length}
    print(f"{given.train}, {rows or 'all'} rows, {torch.get_num_threads()} threads")
    lines, differences = [], []
    for seed in given.seeds:
        training = {"epochs": given.epochs, "learning_rate": given.learning_rate, "seed": seed, "precision": "fp32"}
        with tempfile.TemporaryDirectory() as folder:
            settings = {"model": {"name": given.model}, "data": data, "training": training, "output": f"{folder}/run"}
            config = load(None, settings)
            found = {"accel_clf": ours(config), "HF Trainer": trainers(config, best=False, compiled=False)}
        for name, run in found.items():
            lines.append([str(seed), name, f"{run['accuracy']:.4f}", f"{run['seconds']:.1f}"])
        differences.append(100 * (found["accel_clf"]["accuracy"] - found["HF Trainer"]["accuracy"]))
    print(format_table(["seed", "", "accuracy", "training s"], lines))
    spread = f", standard error {statistics.stdev(differences) / len(differences) ** 0.5:.2f}" if lines[2:] else ""
    print(f"difference: {statistics.mean(differences):+.2f} points{spread}")


if __name__ == "__main__":
    main()
