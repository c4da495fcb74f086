"""Compare accuracy with the HF Trainer's: same rows, batch size, seed and hyperparameters, one run after the other.

python -m benchmarks.accuracy --model FOLDER_OR_ID --train FILE [--rows 4000] [--validation FILE] [--seeds 0 1 2]

Row order and dropout are drawn differently, so with a few hundred held-out rows, one seed's difference of a point or
two is noise; the mean over several seeds shows what is left of it.
"""

import argparse
import statistics
import tempfile

import torch

from accel_clf.config.load import load
from accel_clf.core.console import format_table
from benchmarks.training import train_hf, train_ours


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--train", required=True)
    parser.add_argument("--validation", default="0.2", help="a file, or a fraction of the rows")
    parser.add_argument("--rows", default="null", help="maximum number of rows (default: all)")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--max_length", type=int, default=256)
    parser.add_argument("--learning_rate", type=float, default=5e-5)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    args = parser.parse_args()
    rows = None if args.rows == "null" else args.rows
    data = {"train": args.train, "validation": args.validation, "limit": rows, "max_length": args.max_length}
    print(f"{args.train}, {rows or 'all'} rows, {torch.get_num_threads()} threads")
    lines, differences = [], []
    for seed in args.seeds:
        training = {"epochs": args.epochs, "learning_rate": args.learning_rate, "seed": seed, "precision": "fp32"}
        with tempfile.TemporaryDirectory() as folder:
            settings = {"model": {"name": args.model}, "data": data, "training": training, "output": f"{folder}/run"}
            config = load(None, settings)
            runs = {"accel_clf": train_ours(config), "HF Trainer": train_hf(config, best=False, compiled=False)}
        for name, run in runs.items():
            lines.append([str(seed), name, f"{run['accuracy']:.4f}", f"{run['seconds']:.1f}"])
        differences.append(100 * (runs["accel_clf"]["accuracy"] - runs["HF Trainer"]["accuracy"]))
    print(format_table(["seed", "", "accuracy", "training s"], lines))
    error = f", standard error {statistics.stdev(differences) / len(differences) ** 0.5:.2f}" if lines[2:] else ""
    print(f"difference: {statistics.mean(differences):+.2f} points{error}")


if __name__ == "__main__":
    main()
