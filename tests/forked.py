"""Functions in separate processes, forked from a server that has imported what they need.

A fork can be killed, stopped and signalled like any process, and starts at once; a new interpreter would import for
ten seconds first. Variables that libraries read when they are imported (HF_ENDPOINT, OMP_NUM_THREADS ...) were read by
the server: a test that changes one of them needs a new interpreter.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parent.parent
CAN_FORK = "forkserver" in multiprocessing.get_all_start_methods()  # not on Windows
FORK_SERVER: Any = multiprocessing.get_context("forkserver" if CAN_FORK else "spawn")
if CAN_FORK:
    FORK_SERVER.set_forkserver_preload(["tests.preload"])
os.environ.setdefault("PYTHONPATH", str(REPOSITORY))


class Forked:
    """A forked process with the methods of `subprocess.Popen`. Where no process can fork, the test is skipped.

    Args:
        work: runs in the process; its result is the exit code.
        stdout, stderr: the files that it writes to; they may be the same.
        environment: by default this process's.
        stdin: what it reads.
    """

    def __init__(
        self,
        work: Callable[[], object],
        stdout: Path,
        stderr: Path,
        environment: Mapping[str, str] | None = None,
        stdin: bytes = b"",
    ) -> None:
        if not CAN_FORK:
            pytest.skip("this system cannot fork processes")
        self._process = FORK_SERVER.Process(
            target=_run, args=(work, str(stdout), str(stderr), dict(environment or os.environ), stdin)
        )
        self._process.start()
        self.pid: int = self._process.pid or 0

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired("a fork", timeout or 0)
        return code

    def send_signal(self, signum: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, signum)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def command(
    args: Sequence[object], before: Callable[..., None] | None = None, *before_args: object
) -> Callable[[], object]:
    """Return `accel-clf ARGS` as a fork's work, after `before(*before_args)`."""
    return partial(_command, [*map(str, args)], before, before_args)


def run_forked(
    work: Callable[[], object], folder: Path, timeout: float = 300, **options: Any
) -> "subprocess.CompletedProcess[str]":
    """Run `work` in a fork until it ends, as `subprocess.run` does.

    Args:
        folder: for the files that the fork writes to.
        timeout: in seconds.
        options: of `Forked`.
    """
    stdout, stderr = folder / "stdout", folder / "stderr"
    process = Forked(work, stdout, stderr, **options)
    try:
        code = process.wait(timeout)
    finally:
        process.kill()
    return subprocess.CompletedProcess("a fork", code, stdout.read_text(), stderr.read_text())


def _run(work: Callable[[], object], stdout: str, stderr: str, environment: dict[str, str], stdin: bytes) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(stdin)
        file.seek(0)
        os.dup2(file.fileno(), 0)
    for descriptor, path in ((1, stdout), (2, stderr)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND), descriptor)
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(work())


def _command(args: list[str], before: Callable[..., None] | None, before_args: tuple[object, ...]) -> int:
    from accel_clf.cli.main import main

    if before:
        before(*before_args)
    return main(args)
