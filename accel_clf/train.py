"""What `accelerate launch accel_clf/train.py CONFIG.yaml --section.key value` starts; `accel-clf train` is the same."""

import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":
    # Run as a file, Python puts this folder on the path, where data, config and others would hide other packages.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from accel_clf.arguments import parse
from accel_clf.errors import DONE, is_first_process, run_command

DESCRIPTION = "Fine-tune an encoder into a text classifier. With no argument: the built-in demo."


def main(argv: Sequence[str] | None = None, prog: str = "train.py") -> int:
    """Train by settings from a file and flags; the exit code."""
    given = sys.argv[1:] if argv is None else argv

    def command() -> int:
        config, _ = parse(given, prog, DESCRIPTION)
        from accel_clf.run import summary, train  # torch is not needed for --help

        results = train(config)
        if is_first_process():
            print(summary(results, config.output))
        return DONE

    return run_command(command, debug="--debug" in given)


if __name__ == "__main__":
    sys.exit(main())
