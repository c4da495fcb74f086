"""accel-clf cv."""

import sys
from collections.abc import Sequence

from accel_clf.cli.runner import Job, run_job
from accel_clf.config.flags import Parser, parse
from accel_clf.core.errors import ConfigError

DESCRIPTION = (
    "Train on all folds but one and evaluate on that one, for each fold; the folds' models together are one "
    "classifier. What is finished is never trained again. With no argument: the built-in demo."
)


def main(argv: Sequence[str] | None = None, prog: str = "accel-clf cv") -> int:
    """Cross-validate by settings from a file and flags; the exit code."""
    args = sys.argv[1:] if argv is None else argv

    def read() -> Job:
        config, arguments = parse(args, prog, DESCRIPTION, _add_flags, suffix="-cv")
        if arguments.collect and arguments.fold is not None:
            raise ConfigError("--collect and --fold", "one of them", "leave one out")

        def work() -> str:
            from accel_clf.cross_validation.run import collect, cross_validate  # torch is not needed for --help
            from accel_clf.reports.html.report import with_report
            from accel_clf.reports.summary import cross_validation_summary

            results = with_report(
                config, lambda: collect(config) if arguments.collect else cross_validate(config, arguments.fold)
            )
            return cross_validation_summary(results, config.output) if results else ""

        return config, work

    return run_job(read, prog, args)


def _add_flags(parser: Parser) -> None:
    parser.add_argument("--fold", type=int, metavar="K", help="train fold K only, counted from 0")
    parser.add_argument("--collect", action="store_true", help="train nothing; put the finished folds together")
