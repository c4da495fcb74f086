"""accel-clf: finds the command that was asked for. Nothing here imports torch: `accel-clf --help` answers at once."""

import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from accel_clf import __version__
from accel_clf.config.flags import Parser
from accel_clf.core.command import run_command
from accel_clf.core.errors import ConfigError, closest
from accel_clf.core.exit_codes import DONE

# Each is a file of this package, with `main(argv)`.
COMMANDS = {
    "train": "train by a YAML file and flags; with no argument the demo",
    "cv": "cross-validate: train a model for each fold, evaluate on all rows",
    "parity": "check that all hardware paths here train alike",
    "watch": "show a run while it trains: curves, rate, memory, time left, evaluations",
    "evaluate": "evaluate a trained run on labelled rows",
    "compare": "compare runs on the same rows, and check what must hold of them",
    "predict": "label texts with a trained run",
    "report": "write the report of a run: one HTML file",
    "serve": "answer over HTTP with a trained run: an API and a page",
    "push": "push a trained run to the Hugging Face Hub, with a model card",
    "doctor": "show versions, devices, what a run would use and why; with data: what it is like",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit code.

    Args:
        argv: the command and its arguments; None for the process's own.
    """
    args = list(sys.argv[1:] if argv is None else argv)
    if args and args[0] in COMMANDS:
        command: Callable[[Sequence[str]], int] = import_module(f"accel_clf.cli.{args[0]}").main
        return command(args[1:])
    return run_command(lambda: _without_command(args), debug="--debug" in args)


def _without_command(args: list[str]) -> int:
    parser = Parser(prog="accel-clf", description="Fine-tune any Hugging Face encoder into a text classifier.")
    parser.add_argument("--version", action="version", version=f"accel-clf {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=Parser)
    for name, description in COMMANDS.items():
        commands.add_parser(name, help=description, add_help=False)
    if args and not args[0].startswith("-"):
        raise ConfigError(
            f"no command {args[0]!r}",
            f"one of {', '.join(COMMANDS)}",
            closest(args[0], list(COMMANDS)) or "`accel-clf --help`",
        )
    parser.parse_args(args)
    parser.print_help()
    return DONE
