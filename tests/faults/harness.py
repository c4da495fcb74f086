"""Runs that can be killed, stopped and started again."""

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.chaos import outcome, saved
from tests.forked import Forked, command
from tests.parity.test_processes import free_port

FILE_EVENTS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree"}
LONG = 120.0  # seconds that nothing here takes


class LaunchedRun:
    """A training job of one process or several.

    Args:
        arguments: of the command.
        folder: the run folder.
        processes: how many share the job, as a launcher would start them.
        command: of `accel-clf`.
    """

    def __init__(self, arguments: list[object], folder: Path, processes: int = 1, command: str = "train") -> None:
        self.command = command
        self.arguments, self.folder, self.processes = [*map(str, arguments), "--output", str(folder)], folder, processes
        self.said = folder.with_name(f"{folder.name}.said")
        self.ranks: list[Forked] = []

    def start(self, before: Callable[..., None] | None = None, given: object = None) -> "LaunchedRun":
        """Start it; `before(rank, given)` runs in each process first."""
        port, arguments = free_port(), [self.command, *self.arguments]
        self.ranks = []
        for rank in range(self.processes):
            ranks = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": self.processes, "LOCAL_WORLD_SIZE": self.processes}
            place = ranks | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port} if self.processes > 1 else {}
            environment = dict(os.environ) | {name: str(value) for name, value in place.items()}
            said = Path(f"{self.said}{rank or ''}")
            self.ranks.append(Forked(command(arguments, before, rank, given), said, said, environment))
        return self

    def wait(self, seconds: float = LONG) -> list[int]:
        """The exit codes, once all have ended; negative for a signal.

        Raises:
            TimeoutError: they have not.
        """
        until = time.monotonic() + seconds
        try:
            return [process.wait(max(0.0, until - time.monotonic())) for process in self.ranks]
        except subprocess.TimeoutExpired:
            self.kill()
            raise TimeoutError(f"it was still there: {self.told()}") from None

    def kill(self) -> None:
        """Kill it now, and wait until it is gone."""
        for process in self.ranks:
            process.kill()
            process.wait()

    def told(self, rank: int = 0) -> str:
        """What a process has written on standard error."""
        return Path(f"{self.said}{rank or ''}").read_text()

    def until(self, words: str, path: Path | None = None) -> None:
        """Wait for words in a file, by default the log (metrics.jsonl).

        Raises:
            TimeoutError: they do not come, or the job has ended before.
        """
        file, until = path or self.folder / "metrics.jsonl", time.monotonic() + LONG
        while time.monotonic() < until and any(process.poll() is None for process in self.ranks):
            if file.is_file() and words in file.read_text():
                return
            time.sleep(0.005)
        raise TimeoutError(f"no {words} in {file}: {self.told()}")

    def kill_after(self, steps: int, seconds: float) -> bool:
        """Kill it so long after the checkpoint so many steps on, or (0) after training began; False if it ended."""
        started, first, until = self.folder / "environment.json", self.saved(), math.inf
        patience = time.monotonic() + LONG
        before = started.stat().st_mtime_ns if started.is_file() else 0
        while all(process.poll() is None for process in self.ranks):
            reached = (
                self.saved() - first >= steps if steps else started.is_file() and started.stat().st_mtime_ns > before
            )
            if until == math.inf and reached:
                until = time.monotonic() + seconds
            if time.monotonic() >= patience:
                raise TimeoutError(f"no checkpoint {steps} steps after {first}: {self.told()}")
            if time.monotonic() >= until:
                for process in self.ranks:
                    process.kill()
                return True
            time.sleep(0.001)
        return False

    def saved(self) -> int:
        """The step of the newest checkpoint."""
        return saved(self.folder)

    def outcome(self) -> dict[str, Any]:
        return outcome(self.folder)


def die_at_file_event(rank: int, number: int) -> None:
    """Kill this process before it touches files of a checkpoint for the `number`th time."""
    if rank:
        return
    seen = 0

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event in FILE_EVENTS and "/checkpoints/" in str(arguments[0]) and _writes(event, arguments):
            seen += 1
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)


def _writes(event: str, arguments: tuple[Any, ...]) -> bool:
    """Whether this happens in a save: going on reads the same folder before."""
    return "tmp-" in str(arguments[0]) or event != "open"
