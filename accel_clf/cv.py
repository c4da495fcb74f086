"""What `accelerate launch accel_clf/cv.py CONFIG.yaml --section.key value` starts; `accel-clf cv` is the same."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

if __name__ == "__main__":
    # Run as a file, Python puts this folder on the path, where data, config and others would hide other packages.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from accel_clf.config.flags import Parser, parse
from accel_clf.config.schema import Config
from accel_clf.core.errors import ConfigError
from accel_clf.core.signals import defer_for_good
from accel_clf.train import start

if __name__ == "cv":  # by its path, as the launcher of XLA's cores does
    defer_for_good()

DESCRIPTION = (
    "Train on all folds but one and measure on that one, for each fold; the folds' models together are one classifier. "
    "What is finished is never trained again. With no argument: the built-in demo."
)


def main(argv: Sequence[str] | None = None, prog: str = "cv.py") -> int:
    """Cross-validate by settings from a file and flags; the exit code."""
    given = sys.argv[1:] if argv is None else argv

    def read() -> tuple[Config, Callable[[], str]]:
        config, arguments = parse(given, prog, DESCRIPTION, _flags, kind="-cv")
        if arguments.collect and arguments.fold is not None:
            raise ConfigError("--collect and --fold", "one of them", "leave one out")

        def work() -> str:
            from accel_clf.cross_validation import run
            from accel_clf.reports import text  # torch is not needed for --help

            results = run.collect(config) if arguments.collect else run.cross_validate(config, arguments.fold)
            return text.cross_validation(results, config.output) if results else ""

        return config, work

    return start(read, prog, given)


def _flags(parser: Parser) -> None:
    parser.add_argument("--fold", type=int, metavar="K", help="train fold K only, counted from 0")
    parser.add_argument("--collect", action="store_true", help="train nothing; put the finished folds together")


if __name__ == "__main__":
    sys.exit(main())
