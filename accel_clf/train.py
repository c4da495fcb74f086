"""What `accelerate launch accel_clf/train.py CONFIG.yaml --section.key value` starts; `accel-clf train` is the same."""

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

if __name__ == "__main__":
    # Run as a file, Python puts this folder on the path, where data, config and others would hide other packages.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from accel_clf.config.flags import parse
from accel_clf.config.schema import Config
from accel_clf.core.console import say
from accel_clf.core.errors import DONE, Interrupted, run_command
from accel_clf.core.process_env import in_a_core, is_elastic, is_first_process, once_a_process
from accel_clf.core.signals import defer_for_good
from accel_clf.strategies.xla.virtual import VARIABLE, enable_from_environment

# Under `accelerate launch` XLA's cores start before `main`, so what must come first happens when it imports this file.
if os.environ.get(VARIABLE) and (code := run_command(enable_from_environment)):
    sys.exit(code)
if __name__ == "train":  # by its path, as that launcher does
    defer_for_good()

DESCRIPTION = "Fine-tune an encoder into a text classifier. With no argument: the built-in demo."


def main(argv: Sequence[str] | None = None, prog: str = "train.py") -> int:
    """Train by settings from a file and flags; the exit code."""
    given = sys.argv[1:] if argv is None else argv

    def read() -> tuple[Config, Callable[[], str]]:
        config, _ = parse(given, prog, DESCRIPTION)

        def work() -> str:
            from accel_clf.training.trainer import summary, train  # torch is not needed for --help

            results = train(config)
            return summary(results, config.output) if results else ""

        return config, work

    return start(read, prog, given)


def start(read: Callable[[], tuple[Config, Callable[[], str]]], prog: str, given: Sequence[str]) -> int:
    """Run a job that can be interrupted and go on; the exit code.

    Args:
        read: the settings, and the work, which returns what is to be printed.
        prog: the command.
        given: its arguments.
    """

    def command() -> int:
        config, work = read()
        try:
            told = work()
        except Interrupted as interrupted:
            if is_first_process():
                words = again(prog, given, config)
                once_a_process(("to go on", config), lambda: say(f"to go on:\n{words}"))
            return interrupted.exit_code
        if told:
            print(told)
        return DONE

    if in_a_core():  # where an exit code goes nowhere
        from accel_clf.strategies.xla.base import end_together

        return end_together(command)
    return run_command(command, debug="--debug" in given)


def again(prog: str, given: Sequence[str], config: Config) -> str:
    """What to type to go on.

    Args:
        prog: the command.
        given: its arguments.
        config: what they meant.
    """
    words = [*prog.split(), *given]
    if is_elastic() or in_a_core():
        launcher = _parent()
        if any("accelerate" in word for word in launcher[:3]):
            words = ["accelerate", *launcher[2:]] if launcher[1].endswith("accelerate") else launcher
    if config.resume != "auto":  # what was set aside stays there, and the folder has checkpoints of its own now
        words += ["--resume", "auto"]
    cores = os.environ.get(VARIABLE)
    return (f"{VARIABLE}={cores} " if cores else "") + shlex.join(words)


def _parent() -> list[str]:
    """The command line of the process that has started this one, where the system tells."""
    try:
        return Path(f"/proc/{os.getppid()}/cmdline").read_bytes().decode().rstrip("\0").split("\0")
    except OSError:
        return []


if __name__ == "__main__":
    sys.exit(main())
