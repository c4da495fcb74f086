"""accel-clf watch."""

from collections.abc import Sequence

from accel_clf.cli.arguments import add_run, parser_for
from accel_clf.core.command import run_command
from accel_clf.core.exit_codes import DONE

DESCRIPTION = (
    "Show a run while it trains, until it ends: curves, rate, memory, time left, the last and the best evaluation; of "
    "a cross-validation, its folds too. Where the output is no terminal: a line for each evaluation."
)


def main(argv: Sequence[str]) -> int:
    """Show a run while it trains; the exit code."""
    return run_command(lambda: _watch(argv), debug="--debug" in argv)


def _watch(argv: Sequence[str]) -> int:
    parser = parser_for("watch", DESCRIPTION)
    add_run(parser)
    parser.add_argument("--once", action="store_true", help="show one picture, and end")
    arguments = parser.parse_args(argv)

    from accel_clf.reports.watch.live import watch

    watch(arguments.run, arguments.once)
    return DONE
