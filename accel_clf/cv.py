"""Cross-validate under `accelerate launch accel_clf/cv.py CONFIG.yaml ...`; `accel-clf cv` is the same."""

import sys
from pathlib import Path

if __name__ == "__main__":
    # Run as a file, Python puts this folder on the path, where data, config and others would hide other packages.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from accel_clf.cli.cv import main as cross_validate
from accel_clf.cli.runner import prepare_launched_cores

if __name__ == "cv":  # imported by its path, as the launcher of XLA's cores does
    prepare_launched_cores()


def main() -> int:
    """Cross-validate by the process's arguments; the exit code."""
    return cross_validate(prog="cv.py")


if __name__ == "__main__":
    sys.exit(main())
