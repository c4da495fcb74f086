"""The processes that send a run to trackers, as training has them: started, and ended within bounds."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import accel_clf
from accel_clf.config.schema import Config
from accel_clf.core.console import log
from accel_clf.core.errors import ConfigError
from accel_clf.core.process_env import is_main_process
from accel_clf.tracking.note import Note, log_path, note_path

ANSWER_SECONDS = 10.0  # in which a tracker has to answer
START_SECONDS = 30.0  # in which a process has to have imported a tracker's library
END_SECONDS = 60.0  # in which the rest of a run has to be sent
# Of a launcher, and what would take an accelerator: a follower is alone, and on the CPU.
NOT_INHERITED = ("RANK", "WORLD_SIZE", "LOCAL_", "MASTER_", "ACCELERATE_", "TORCHELASTIC_", "FORK_LAUNCHED", "PJRT_")

# Of libraries that would send the working folder's changed files, among which may be texts; whoever sets them decides.
NO_FILES = {
    "WANDB_DISABLE_GIT": "true",
    "WANDB_SAVE_CODE": "false",
    "CLEARML__SDK__DEVELOPMENT__STORE_UNCOMMITTED_CODE_DIFF": "false",
}


class TrackedRun(NamedTuple):
    """A run as trackers have it.

    Attributes:
        folder: of the run; of a cross-validation, for what its folds say together.
        name: of the run.
        group: that it belongs to.
    """

    folder: Path
    name: str
    group: str | None


def check_installed(trackers: Sequence[str]) -> None:
    """Check that each tracker's library is installed.

    Raises:
        ConfigError: one is not.
    """
    missing = [name for name in trackers if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"trackers has {', '.join(missing)}, and {'they are' if len(missing) > 1 else 'that is'} not installed",
            "the libraries of all trackers",
            f"pip install {' '.join(missing)}",
        )


class Followers:
    """Sends runs to trackers while they are trained, from rank 0, by a process for each tracker.

    Runs that a tracker has already are left alone; where that is all of them, nothing is started. As a context for the
    cores that are threads of one process, the last to leave it ends it.

    Args:
        config: names the trackers.
        runs: in the order in which they are trained.
    """

    def __init__(self, config: Config, runs: Sequence[TrackedRun]) -> None:
        self.processes: dict[str, tuple[subprocess.Popen[bytes], list[TrackedRun]]] = {}
        self._entered, self._lock, self._start_time = 0, threading.Lock(), time.time()
        if not is_main_process():
            return
        for tracker in dict.fromkeys(config.trackers):
            if unsent := [run for run in runs if not Note.read(run.folder, tracker).is_complete]:
                self.processes[tracker] = (_start(tracker, config.tracking.project, unsent), unsent)

    def __enter__(self) -> Self:
        with self._lock:
            self._entered += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._entered -= 1
            is_last = not self._entered
        if is_last:
            self._finish()

    def _finish(self) -> None:
        """Let trackers have the rest; end those that do not take it, and say so."""
        stuck = "the wait for it was cut short"
        try:
            for process, _ in self.processes.values():
                _say_that_training_is_over(process)
            end_time = time.time()
            while any(self._is_awaited(tracker, end_time) for tracker in self.processes):
                time.sleep(0.05)
            stuck = "it is too slow"
        finally:
            for tracker, (process, runs) in self.processes.items():
                is_stuck = process.poll() is None
                if is_stuck:
                    _kill(process)
                    process.wait()
                _report(tracker, runs, stuck if is_stuck else "", process.returncode)

    def _is_awaited(self, tracker: str, end_time: float) -> bool:
        """Whether a tracker has something to send, and does."""
        process, runs = self.processes[tracker]
        if process.poll() is not None:
            return False
        now = time.time()
        times = [path.stat().st_mtime for run in runs if (path := note_path(run.folder, tracker)).is_file()]
        last_answer = max(times, default=0.0)
        if last_answer < self._start_time:
            return now < self._start_time + START_SECONDS or now < end_time + ANSWER_SECONDS
        is_waiting = any(Note.read(run.folder, tracker).is_waiting for run in runs)
        since = last_answer if is_waiting else max(last_answer, end_time)
        return now < min(since + ANSWER_SECONDS, end_time + END_SECONDS)


def _start(tracker: str, project: str, runs: Sequence[TrackedRun]) -> "subprocess.Popen[bytes]":
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(NOT_INHERITED)}
    environment = NO_FILES | inherited
    packages = [str(Path(accel_clf.__file__).parent.parent), os.environ.get("PYTHONPATH", "")]
    environment |= {
        "PYTHONPATH": os.pathsep.join(filter(None, packages)),
        "USE_TORCH_XLA": "false",
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
    }
    if tracker == "mlflow":  # which otherwise refuses to write files; whoever names some asks for them
        environment.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    process = subprocess.Popen(
        [sys.executable, "-m", "accel_clf.tracking.follower"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,  # Ctrl-C is training's
    )
    folders = [run._asdict() | {"folder": str(run.folder.absolute())} for run in runs]
    _write(process, json.dumps({"tracker": tracker, "project": project, "runs": folders}))
    return process


def _write(process: "subprocess.Popen[bytes]", line: str) -> None:
    assert process.stdin, "it is a pipe"
    with suppress(OSError):  # it has ended already, as its exit code says
        process.stdin.write(f"{line}\n".encode())
        process.stdin.flush()


def _say_that_training_is_over(process: "subprocess.Popen[bytes]") -> None:
    _write(process, "training is over")
    assert process.stdin, "it is a pipe"
    with suppress(OSError):
        process.stdin.close()


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """Kill a process, and those that its library has started."""
    if hasattr(os, "killpg"):
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()


def _report(tracker: str, runs: Sequence[TrackedRun], stuck: str, code: int) -> None:
    """Log where the runs are, or which a tracker lacks, and why.

    Args:
        stuck: why its process was killed; empty where it has ended.
        code: its exit code.
    """
    notes = {run: Note.read(run.folder, tracker) for run in runs}
    for run, note in notes.items():
        if stuck and note.is_waiting:
            reason = "it does not answer"
        elif note.error:
            reason = note.error
        elif stuck:
            reason = stuck
        elif code:
            reason = f"its process has ended with exit code {code}"
        else:
            continue
        # What it was sent: not all libraries say whether that has arrived.
        sent = f"all of {run.folder}, sent up to step {max(note.sent.values())}" if note.sent else run.folder
        log(
            f"warning: {tracker} may not have {sent}: {reason} "
            f"({log_path(run.folder, tracker)}); the same command sends the rest"
        )
        return
    if locations := [note.location for note in notes.values() if note.location]:
        log(f"{tracker} has the run{'s' if len(locations) > 1 else ''}: {locations[-1]}")
