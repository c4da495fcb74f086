"""Train under `accelerate launch accel_clf/train.py CONFIG.yaml --section.key value`; `accel-clf train` is the same."""

import sys
from pathlib import Path

if __name__ == "__main__":
    # Run as a file, Python puts this folder on the path, where data, config and others would hide other packages.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from accel_clf.cli.runner import prepare_launched_cores
from accel_clf.cli.train import main as train

if __name__ == "train":  # imported by its path, as the launcher of XLA's cores does
    prepare_launched_cores()


def main() -> int:
    """Train by the process's arguments; the exit code."""
    return train(prog="train.py")


if __name__ == "__main__":
    sys.exit(main())
