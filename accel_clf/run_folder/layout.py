"""Files of a run folder: written whole or not at all, and never over something else."""

import json
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from itertools import count
from pathlib import Path
from typing import IO, Any

import yaml
from filelock import FileLock, Timeout

from accel_clf import __version__
from accel_clf.config.schema import Config, load, settings
from accel_clf.core.console import say
from accel_clf.core.errors import ConfigError
from accel_clf.core.process_env import is_first_process

LOCK = ".lock"
FOLDS = "folds.json"  # what a cross-validation's folder has, and a run's has not
MOMENT = 2.0  # seconds in which the processes of a job that was killed have ended
LIBRARIES = (
    "torch",
    "torch_xla",
    "transformers",
    "accelerate",
    "datasets",
    "tokenizers",
    "safetensors",
    "scikit-learn",
    "numpy",
)


@contextmanager
def whole(path: Path) -> Iterator[IO[str]]:
    """A text file that appears under its name only when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        with unfinished.open("w", encoding="utf-8", newline="") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_json(path: Path, value: Any, indent: int | None = 2) -> None:
    with whole(path) as file:
        json.dump(value, file, indent=indent, ensure_ascii=False)
        file.write("\n")


def read_json(path: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return read


def contents(folder: Path) -> list[str]:
    """What is in a folder; without its lock, and what a process that was killed had not finished writing."""
    return sorted(path.name for path in folder.iterdir() if path.name[0] != ".") if folder.is_dir() else []


def lock(folder: Path) -> FileLock:
    """A lock on a run folder, held by this process until it is released or ends.

    Raises:
        ConfigError: another holds it.
    """
    found = FileLock(folder / LOCK)
    try:
        found.acquire(timeout=MOMENT)
    except Timeout:
        raise ConfigError(
            f"output {folder} is in use by another run", "one run a folder", "wait for it, or choose another --output"
        ) from None
    return found


def set_aside(folder: Path) -> None:
    """Give a folder's contents another name."""
    aside = next(path for n in count(1) if not (path := folder.with_name(f"{folder.name}.{n}")).exists())
    folder.rename(aside)
    say(f"what {folder} held is in {aside} now (--resume never)")


class Claim:
    """A run folder that no other run may use until it is released.

    Attributes:
        state: of the folder: "new", "unfinished" or "finished".

    Raises:
        ConfigError: another run is at work there, the folder holds something else, or a finished run with other
            settings.
    """

    def __init__(self, config: Config) -> None:
        self.folder = Path(config.output)
        self.lock: FileLock | None = None
        anew = config.resume == "never"
        if not is_first_process():  # the first one has the folder for all, and may be setting its contents aside
            self.state = "new" if anew else _state(self.folder, config)
            return
        self.state = _state(self.folder, config)
        if self.state == "finished" and not anew:  # and never changed again
            return
        self._take()
        try:
            self.state = _state(self.folder, config)  # what it is now that nobody else changes it
            if anew and self.state != "new":
                self.release()
                set_aside(self.folder)
                self._take()
                self.state = "new"
        except BaseException:
            self.release()
            raise

    def _take(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.lock = lock(self.folder)

    def release(self) -> None:
        """Let others in; a folder in which nothing was made goes."""
        if self.lock:
            (self.folder / LOCK).unlink(missing_ok=True)
            self.lock.release()
            self.lock = None
            with suppress(OSError):
                self.folder.rmdir()


def _state(folder: Path, config: Config) -> str:
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"output {folder} is a file", "a folder for the run", "choose another --output")
    inside = contents(folder)
    if not inside:
        return "new"
    if not (folder / "config.yaml").is_file() or is_cross_validation(folder):
        raise ConfigError(
            f"output {folder} holds files that are not a run's: {FOLDS if FOLDS in inside else inside[0]}",
            "a new or empty folder, or a run's",
            "choose another --output",
        )
    finished = (folder / "metrics.json").is_file()
    # An unfinished run is compared with its checkpoint, where it has one.
    compared = finished or ((folder / "model").exists() and not (folder / "checkpoints").exists())
    changes = differences(load(folder / "config.yaml", {}), config) if compared else []
    if changes and config.resume != "never":
        raise ConfigError(
            f"output {folder} holds {'a finished' if finished else 'an unfinished'} run with other settings: "
            + "; ".join(changes),
            "a folder of its own for each run",
            "choose another --output",
        )
    return "finished" if finished else "unfinished"


# What may change when a run goes on. Batch, accumulation and processes may, together: see `resume`.
FREE = {
    "model.allow_code", "model.allow_pickle", "batch.size", "batch.accumulate", "batch.layout", "training.timeout",
    "evaluation.baseline", "checkpoint.every", "checkpoint.keep", "strategy", "virtual_cores", "output", "resume",
    "allow_changes", "folds",
}  # fmt: skip


def differences(before: Config, after: Config) -> list[str]:
    """The settings in which two configurations differ, of those that decide the result."""

    def value(config: Config, name: str) -> Any:
        for part in name.split("."):
            config = getattr(config, part)
        return config

    return [
        f"{name} {value(before, name)} -> {value(after, name)}"
        for name, _ in settings()
        if name not in FREE and value(before, name) != value(after, name)
    ]


def write_config(folder: Path, config: Config) -> None:
    with whole(folder / "config.yaml") as file:
        yaml.safe_dump(config.model_dump(mode="json"), file, sort_keys=False, allow_unicode=True)


def fold_name(fold: int) -> str:
    """The run folder of a fold, in a cross-validation's folder."""
    return f"fold-{fold}"


def is_cross_validation(folder: Path) -> bool:
    return (folder / FOLDS).is_file()


def read_config(folder: Path) -> Config:
    """The settings of a run or a cross-validation that can answer.

    Raises:
        ConfigError: the folder is not one of a run that got as far as a model, or of a finished cross-validation.
    """
    if is_cross_validation(folder):
        if not (folder / "metrics.json").is_file():
            raise ConfigError(
                f"{folder}: a cross-validation that is not finished", "all folds, put together", "`accel-clf cv` again"
            )
    elif not (folder / "config.yaml").is_file() or not (folder / "model" / "config.json").is_file():
        what = "no such folder" if not folder.is_dir() else "no trained run"
        raise ConfigError(
            f"{folder}: {what}", "the folder that `accel-clf train` wrote", "check the path, or train first"
        )
    return load(folder / "config.yaml", {})


def cut_log(folder: Path, step: int) -> None:
    """Leave in metrics.jsonl what was known after a step; a line that was cut off goes, too."""
    path = folder / "metrics.jsonl"
    if not path.is_file():
        return
    with path.open("rb") as file:
        lines = [line for line in file if line.endswith(b"\n") and json.loads(line)["step"] <= step]
    with whole(path) as new:
        new.write(b"".join(lines).decode())


def environment(chosen: str, processes: int, step: int) -> dict[str, Any]:
    """What a run runs on, from a step on."""
    return {
        "command": sys.argv,
        "from_step": step,
        "device": chosen,
        "processes": processes,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "versions": versions(),
    }


def versions() -> dict[str, str | None]:
    """The installed versions of accel_clf and what it stands on; None for what is not there."""
    found: dict[str, str | None] = {"accel_clf": __version__}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found
