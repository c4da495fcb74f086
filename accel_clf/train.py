"""What `accelerate launch accel_clf/train.py CONFIG.yaml --section.key value` starts; `accel-clf train` is the same."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":
    # Run as a file, Python puts this folder on the path, where data, config and others would hide other packages.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from accel_clf.arguments import parse
from accel_clf.errors import DONE, in_a_core, run_command

if os.environ.get("ACCEL_CLF_VIRTUAL_CORES"):
    # Under `accelerate launch` the cores start before `main`, so what makes them happens when this file is imported.
    from accel_clf.strategies.virtual_xla import enable_from_environment

    if code := run_command(enable_from_environment):
        sys.exit(code)

DESCRIPTION = "Fine-tune an encoder into a text classifier. With no argument: the built-in demo."


def main(argv: Sequence[str] | None = None, prog: str = "train.py") -> int:
    """Train by settings from a file and flags; the exit code."""
    given = sys.argv[1:] if argv is None else argv

    def command() -> int:
        config, _ = parse(given, prog, DESCRIPTION)
        from accel_clf.run import summary, train  # torch is not needed for --help

        results = train(config)
        if results:
            print(summary(results, config.output))
        return DONE

    if in_a_core():  # where an exit code goes nowhere
        from accel_clf.strategies.cores import end_together

        return end_together(command)
    return run_command(command, debug="--debug" in given)


if __name__ == "__main__":
    sys.exit(main())
