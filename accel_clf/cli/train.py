"""accel-clf train."""

import sys
from collections.abc import Sequence

from accel_clf.cli.runner import Job, run_job
from accel_clf.config.flags import parse

DESCRIPTION = "Fine-tune an encoder into a text classifier. With no argument: the built-in demo."


def main(argv: Sequence[str] | None = None, prog: str = "accel-clf train") -> int:
    """Train by settings from a file and flags; the exit code."""
    args = sys.argv[1:] if argv is None else argv

    def read() -> Job:
        config, _ = parse(args, prog, DESCRIPTION)

        def work() -> str:
            from accel_clf.reports.html.report import with_report
            from accel_clf.reports.summary import training_summary
            from accel_clf.training.run import train  # torch is not needed for --help

            results = with_report(config, lambda: train(config))
            return training_summary(results, config.output) if results else ""

        return config, work

    return run_job(read, prog, args)
