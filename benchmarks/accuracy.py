"""Accuracy beside the HF Trainer's: same rows, batch size, seed and hyper-parameters, one run after the other.

python -m benchmarks.accuracy --model FOLDER_OR_ID --train FILE [--rows 4000] [--validation FILE]
"""

import argparse
import tempfile

import torch

from accel_clf.config import load
from accel_clf.report import table
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
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rows = None if given.rows == "null" else given.rows
    training = {"epochs": given.epochs, "learning_rate": given.learning_rate, "seed": given.seed, "precision": "fp32"}
    data = {"train": given.train, "validation": given.validation, "limit": rows, "max_length": given.max_length}
    with tempfile.TemporaryDirectory() as folder:
        settings = {"model": {"name": given.model}, "data": data, "training": training, "output": f"{folder}/run"}
        config = load(None, settings)
        found = {"accel_clf": ours(config), "HF Trainer": trainers(config, best=False, compiled=False)}
    lines = [[name, f"{run['accuracy']:.4f}", f"{run['seconds']:.1f}"] for name, run in found.items()]
    print(f"{given.train}, {given.rows} rows, seed {given.seed}, {torch.get_num_threads()} threads")
    print(table(["", "accuracy", "training s"], lines))
    one, other = (run["accuracy"] for run in found.values())
    print(f"difference: {100 * (one - other):+.2f} points")


if __name__ == "__main__":
    main()
