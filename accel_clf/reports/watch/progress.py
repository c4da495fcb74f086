"""A run or a cross-validation in progress, as its folder has it."""

import math
import os
import platform
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from accel_clf.config.load import load
from accel_clf.config.schema import Config
from accel_clf.run_folder import layout
from accel_clf.run_folder.checked import read_object
from accel_clf.run_folder.shapes import Environment, RunResults
from accel_clf.targets.metrics import LOWER_IS_BETTER
from accel_clf.tracking.content import Line, LogReader

RATE_LINES = 5  # whose mean says how fast a run is


@dataclass
class RunProgress:
    """A run, as far as its folder says.

    Args:
        folder: of the run.

    Attributes:
        config: its settings; None before it has written any.
        environment: what it runs on; empty before that.
        training, evaluations: the lines of metrics.jsonl, by event.
        is_finished: whether its results are there.
        results: the contents of metrics.json.
    """

    folder: Path
    config: Config | None = None
    environment: dict[str, Any] = field(default_factory=dict)
    training: list[Line] = field(default_factory=list)
    evaluations: list[Line] = field(default_factory=list)
    results: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._log = LogReader(self.folder)
        self._environment_time = 0

    def update(self) -> None:
        """Read what was written since the last time.

        Raises:
            UserError: a file is damaged.
        """
        if not self.results:  # first: what is read after it is complete
            self.results = read_object(self.folder / "metrics.json", RunResults)
        with suppress(FileNotFoundError):
            changed = (self.folder / "environment.json").stat().st_mtime_ns
            if changed != self._environment_time:  # it has started again
                self._environment_time = changed
                self.environment = read_object(self.folder / "environment.json", Environment)
                self.config = load(self.folder / "config.yaml", {})
        lines = self._log.new_lines()
        if lines and self._log.starts_over:
            self.training, self.evaluations = [], []
        self.training += [line for line in lines if line.event == "train"]
        self.evaluations += [line for line in lines if line.event == "validation"]

    @property
    def is_finished(self) -> bool:
        """Whether its results are there."""
        return bool(self.results)

    @property
    def step(self) -> int:
        """The last step that was written."""
        return max((line.step for line in self.training[-1:] + self.evaluations[-1:]), default=0)

    @property
    def total_steps(self) -> int | None:
        """How many steps it will take; None where that is not known."""
        total = self.environment.get("total_steps")
        return int(total) if total else None

    @property
    def metric(self) -> str:
        """The metric that selects the best model."""
        return self.config.evaluation.metric if self.config else ""

    def best(self, step: float = math.inf) -> Line | None:
        """Return the best evaluation so far, or up to a step."""
        name = f"validation/{self.metric}"
        lines = [line for line in self.evaluations if name in line.values and line.step <= step]
        sign = -1 if self.metric in LOWER_IS_BETTER else 1
        return max(lines, key=lambda line: sign * line.values[name], default=None)

    def rows_per_second(self) -> float | None:
        """Return the rate of the last steps."""
        name = "train/rows_per_second"
        rates = [line.values[name] for line in self.training[-RATE_LINES:] if name in line.values]
        return sum(rates) / len(rates) if rates else None

    def seconds_per_step(self) -> float | None:
        """Return how long a step takes, evaluations and checkpoints not counted."""
        rate = self.rows_per_second()
        if not rate or self.config is None:
            return None
        return self.config.batch.rows_per_step(self.environment.get("processes", 1)) / rate

    def seconds_left(self) -> float | None:
        """Return how long the remaining steps will take; None where that is not known, or nothing takes them."""
        if self.is_finished or self.is_running() is False:
            return None
        seconds, total = self.seconds_per_step(), self.total_steps
        return None if seconds is None or total is None else max(0, total - self.step) * seconds

    def is_running(self) -> bool | None:
        """Whether its process is; None where that cannot be known: on another machine, or of an earlier version."""
        pid = self.environment.get("pid")
        if pid is None or self.environment.get("host") != platform.node():
            return None
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:  # another user's
            return True
        return True

    def seconds_since_written(self) -> float | None:
        """Return how long ago the run wrote something; None where it never did."""
        times = [
            path.stat().st_mtime
            for name in ("metrics.jsonl", "environment.json")
            if (path := self.folder / name).is_file()
        ]
        return time.time() - max(times) if times else None

    def memory(self) -> dict[str, int]:
        """Return what memory its process has, in bytes: of the machine, and of the GPU where it trains on one."""
        pid, found = self.environment.get("pid"), {}
        if not self.is_running():
            return {}
        with suppress(OSError, ValueError, IndexError):
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            found["memory"] = pages * os.sysconf("SC_PAGE_SIZE")
        if str(self.environment.get("device", "")).startswith("cuda"):
            with suppress(OSError, ValueError, subprocess.SubprocessError):
                found["GPU memory"] = _gpu_memory(int(str(pid)))
        return found


class FoldProgress(NamedTuple):
    """A fold of a cross-validation."""

    number: int
    run: RunProgress


class CrossValidationProgress:
    """The folds of a cross-validation.

    Args:
        folder: of the cross-validation.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        numbers = range(layout.read_folds(folder))
        self.folds = [FoldProgress(number, RunProgress(folder / layout.fold_name(number))) for number in numbers]

    def update(self) -> None:
        """Read what was written since the last time."""
        for _, run in self.folds:
            run.update()

    @property
    def is_finished(self) -> bool:
        """Whether its results are there."""
        return (self.folder / "metrics.json").is_file()

    def current(self) -> FoldProgress | None:
        """Return the fold that was written to last, of those that have begun and are not finished."""
        begun = [fold for fold in self.folds if fold.run.environment and not fold.run.is_finished]
        return min(begun, key=lambda fold: fold.run.seconds_since_written() or 0.0, default=None)

    def latest(self) -> RunProgress | None:
        """Return the run that was written to last, finished or not."""
        begun = [fold.run for fold in self.folds if fold.run.environment]
        return min(begun, key=lambda run: run.seconds_since_written() or 0.0, default=None)

    def seconds_left(self) -> float | None:
        """Return how long the remaining steps of all folds will take, one after another."""
        current = self.current()
        if current is None:
            return None
        seconds, total, left = current.run.seconds_per_step(), current.run.total_steps, current.run.seconds_left()
        if seconds is None or total is None or left is None:
            return None
        others = [fold.run for fold in self.folds if fold is not current and not fold.run.is_finished]
        return left + seconds * sum(total - run.step for run in others)


def open_progress(folder: Path) -> RunProgress | CrossValidationProgress:
    """Open the folder of a run or a cross-validation, which may be empty yet."""
    return CrossValidationProgress(folder) if layout.is_cross_validation(folder) else RunProgress(folder)


def _gpu_memory(pid: int) -> int:
    """Ask the driver how much of GPUs' memory a process has."""
    query = ["nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"]
    lines = subprocess.run(query, capture_output=True, text=True, timeout=5, check=True).stdout.splitlines()
    used = [line.split(",") for line in lines]
    return 2**20 * sum(int(megabytes) for process, megabytes in used if int(process) == pid)
