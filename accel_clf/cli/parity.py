"""accel-clf parity."""

from collections.abc import Sequence

from accel_clf.config.flags import Parser, parse
from accel_clf.core.command import run_command
from accel_clf.core.errors import ConfigError
from accel_clf.core.exit_codes import DONE, FAILED

DESCRIPTION = (
    "Run the first steps under every strategy and number of cores that this machine can run, and compare. "
    "batch.size is the global batch's here, for all of them."
)


def main(argv: Sequence[str]) -> int:
    """Compare all hardware paths of this machine; the exit code."""
    return run_command(lambda: _parity(argv), debug="--debug" in argv)


def _parity(argv: Sequence[str]) -> int:
    config, arguments = parse(argv, "accel-clf parity", DESCRIPTION, _add_flags)
    if arguments.steps < 2:
        raise ConfigError(f"--steps is {arguments.steps}", "2 or more: the end of an epoch is among them")
    from accel_clf.training import parity

    return DONE if parity.run(config, arguments.steps) else FAILED


def _add_flags(parser: Parser) -> None:
    parser.add_argument("--steps", type=int, default=20, metavar="N", help="optimizer steps of each run (20)")
