"""Training jobs that can be killed, stopped and started again."""

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.chaos import last_saved_step, outcome
from tests.forked import Forked, command
from tests.parity.test_processes import free_port

FILE_EVENTS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree"}
TIMEOUT = 120.0  # seconds, longer than anything here takes


class LaunchedRun:
    """A training job of one process or several, which write to one file each.

    Args:
        args: of the command.
        folder: the run folder.
        processes: how many share the job, with the environment that a launcher would give them.
        command: of `accel-clf`.

    Attributes:
        ranks: the processes since the last start.
        output_path: the file that rank 0 writes to.
    """

    def __init__(self, args: list[object], folder: Path, processes: int = 1, command: str = "train") -> None:
        self.command = command
        self.args, self.folder, self.processes = [*map(str, args), "--output", str(folder)], folder, processes
        self.output_path = folder.with_name(f"{folder.name}.output")
        self.ranks: list[Forked] = []

    def start(self, before: Callable[..., None] | None = None, before_arg: object = None) -> "LaunchedRun":
        """Start the job; each process first calls `before(rank, before_arg)`."""
        port, args = free_port(), [self.command, *self.args]
        self.ranks = []
        for rank in range(self.processes):
            variables: dict[str, object] = {}
            if self.processes > 1:
                ranks = {"RANK": rank, "LOCAL_RANK": rank}
                sizes = {"WORLD_SIZE": self.processes, "LOCAL_WORLD_SIZE": self.processes}
                variables = {**ranks, **sizes, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            environment = dict(os.environ) | {name: str(value) for name, value in variables.items()}
            path = self._output_path(rank)
            self.ranks.append(Forked(command(args, before, rank, before_arg), path, path, environment))
        return self

    def wait(self, timeout: float = TIMEOUT) -> list[int]:
        """Wait until all processes have ended; return their exit codes, negative for a signal.

        Raises:
            TimeoutError: they have not ended; now they are killed.
        """
        deadline = time.monotonic() + timeout
        try:
            return [process.wait(max(0.0, deadline - time.monotonic())) for process in self.ranks]
        except subprocess.TimeoutExpired:
            self.kill()
            raise TimeoutError(f"the job did not end: {self.output()}") from None

    def kill(self) -> None:
        """Kill all processes, and wait until they have ended."""
        for process in self.ranks:
            process.kill()
            process.wait()

    def output(self, rank: int = 0) -> str:
        """Return what a process has written since its last start."""
        return self._output_path(rank).read_text()

    def _output_path(self, rank: int) -> Path:
        return Path(f"{self.output_path}{rank or ''}")

    def wait_for(self, text: str, path: Path | None = None) -> None:
        """Wait for a text in a file, by default in metrics.jsonl.

        Raises:
            TimeoutError: it does not come, or the job ends before.
        """
        file, deadline = path or self.folder / "metrics.jsonl", time.monotonic() + TIMEOUT
        while time.monotonic() < deadline and any(process.poll() is None for process in self.ranks):
            if file.is_file() and text in file.read_text():
                return
            time.sleep(0.005)
        raise TimeoutError(f"no {text} in {file}: {self.output()}")

    def kill_after(self, steps: int, seconds: float) -> bool:
        """Kill the job some seconds after it has saved `steps` steps more, or, for 0 steps, has started to train.

        Returns:
            Whether it was killed; False if it ended before.
        """
        environment, first, kill_time = self.folder / "environment.json", self.last_saved_step(), math.inf
        deadline = time.monotonic() + TIMEOUT
        mtime = environment.stat().st_mtime_ns if environment.is_file() else 0
        while all(process.poll() is None for process in self.ranks):
            if steps:
                is_reached = self.last_saved_step() - first >= steps
            else:
                is_reached = environment.is_file() and environment.stat().st_mtime_ns > mtime
            if kill_time == math.inf and is_reached:
                kill_time = time.monotonic() + seconds
            if time.monotonic() >= deadline:
                raise TimeoutError(f"no checkpoint {steps} steps after {first}: {self.output()}")
            if time.monotonic() >= kill_time:
                for process in self.ranks:
                    process.kill()
                return True
            time.sleep(0.001)
        return False

    def last_saved_step(self) -> int:
        """Return the step of the newest checkpoint."""
        return last_saved_step(self.folder)

    def outcome(self) -> dict[str, Any]:
        """Return the results that two equal jobs have in common."""
        return outcome(self.folder)


def die_at_file_event(rank: int, number: int) -> None:
    """Make rank 0 kill itself before its `number`th operation on files of a checkpoint that it saves."""
    if rank:
        return
    count = 0

    def count_event(event: str, args: tuple[Any, ...]) -> None:
        nonlocal count
        if event in FILE_EVENTS and "/checkpoints/" in str(args[0]) and _is_save(event, args):
            count += 1
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count_event)


def _is_save(event: str, args: tuple[Any, ...]) -> bool:
    """Whether an event is part of a save; to resume, a run only reads the same folder."""
    return "tmp-" in str(args[0]) or event != "open"
