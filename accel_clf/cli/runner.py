"""Jobs that can be interrupted and resumed: how they are started, and what to type to resume one."""

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from accel_clf.config.flags import with_short_flags
from accel_clf.config.schema import Config
from accel_clf.core.command import run_command
from accel_clf.core.console import log
from accel_clf.core.errors import Interrupted, MissingColumnError
from accel_clf.core.exit_codes import DONE
from accel_clf.core.process_env import in_xla_worker, is_main_process, is_torchelastic, shared_across_cores
from accel_clf.core.signals import defer_signals_for_good
from accel_clf.strategies.xla.detect import VIRTUAL_CORES_VARIABLE
from accel_clf.strategies.xla.virtual import enable_requested_cores

Job = tuple[Config, Callable[[], str]]  # the settings, and the work, which returns what is to be printed


def prepare_launched_cores() -> None:
    """Do what must come before XLA's cores start, where `accelerate launch` has imported a script to start them."""
    if os.environ.get(VIRTUAL_CORES_VARIABLE) and (code := run_command(enable_requested_cores)):
        sys.exit(code)
    defer_signals_for_good()


def run_job(read: Callable[[], Job], prog: str, args: Sequence[str]) -> int:
    """Run a job that can be interrupted and resumed; the exit code.

    Args:
        read: reads the settings.
        prog: the command.
        args: its arguments.
    """

    def command() -> int:
        config, work = read()
        try:
            text = work()
        except Interrupted as interrupted:
            if is_main_process():
                words = resume_command(prog, args, config)
                shared_across_cores(("resume command", config), lambda: log(f"to resume:\n{words}"))
            return interrupted.exit_code
        except MissingColumnError as error:
            if error.flags:
                error.fix = shlex.join(with_short_flags(_command_words(prog, args), error.flags))
            raise
        if text:
            print(text)
        return DONE

    if in_xla_worker():  # where an exit code goes nowhere
        from accel_clf.strategies.xla.spawn import end_together

        return end_together(command)
    return run_command(command, debug="--debug" in args)


def resume_command(prog: str, args: Sequence[str], config: Config) -> str:
    """What to type to resume a job.

    Args:
        prog: the command.
        args: its arguments.
        config: the settings that they gave.
    """
    words = _command_words(prog, args)
    if config.resume != "auto":  # what was set aside stays there, and the folder has checkpoints of its own now
        words += ["--resume", "auto"]
    cores = os.environ.get(VIRTUAL_CORES_VARIABLE)
    return (f"{VIRTUAL_CORES_VARIABLE}={cores} " if cores else "") + shlex.join(words)


def _command_words(prog: str, args: Sequence[str]) -> list[str]:
    """Return the words of the command that was typed, with its launcher where there is one."""
    is_script = prog.endswith(".py")
    if is_torchelastic() or in_xla_worker() or is_script:
        launcher = _parent()
        if any("accelerate" in word for word in launcher[:3]):
            return ["accelerate", *launcher[2:]] if launcher[1].endswith("accelerate") else launcher
    return ["python", sys.argv[0], *args] if is_script else [*prog.split(), *args]


def _parent() -> list[str]:
    """The command line of the process that has started this one, where the system tells."""
    try:
        return Path(f"/proc/{os.getppid()}/cmdline").read_bytes().decode().rstrip("\0").split("\0")
    except OSError:
        return []
