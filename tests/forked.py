"""Work in processes of their own, forked from a server that has imported what they need.

A fork can be killed, stopped and signalled as any process, and starts within a moment; an interpreter of its own
would import for ten seconds first. What libraries read when they are imported (HF_ENDPOINT, OMP_NUM_THREADS ...) was
read by the server: who changes such a variable needs an interpreter of its own.
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

REPOSITORY = Path(__file__).parent.parent
FORKING = multiprocessing.get_context("forkserver")
FORKING.set_forkserver_preload(["tests.preload"])
os.environ.setdefault("PYTHONPATH", str(REPOSITORY))


class Forked:
    """A process with what `subprocess.Popen` has.

    Args:
        work: what it does, until its exit code.
        stdout, stderr: files for what it writes; one file for both can be given.
        environment: this process's by default.
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
        self._process = FORKING.Process(
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

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def command(
    arguments: Sequence[object], before: Callable[..., None] | None = None, *given: object
) -> Callable[[], object]:
    """`accel-clf` as a fork's work, after `before(*given)`."""
    return partial(_command, [*map(str, arguments)], before, given)


def finished(
    work: Callable[[], object], folder: Path, timeout: float = 300, **options: Any
) -> "subprocess.CompletedProcess[str]":
    """As `subprocess.run` gives it, with `folder` for what the fork writes."""
    out, err = folder / "stdout", folder / "stderr"
    process = Forked(work, out, err, **options)
    try:
        code = process.wait(timeout)
    finally:
        process.kill()
    return subprocess.CompletedProcess("a fork", code, out.read_text(), err.read_text())


def _run(work: Callable[[], object], stdout: str, stderr: str, environment: dict[str, str], stdin: bytes) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(stdin)
        file.seek(0)
        os.dup2(file.fileno(), 0)
    for number, path in ((1, stdout), (2, stderr)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND), number)
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(work())


def _command(arguments: list[str], before: Callable[..., None] | None, given: tuple[object, ...]) -> int:
    from accel_clf.cli.main import main

    if before:
        before(*given)
    return main(arguments)
