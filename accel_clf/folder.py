"""Files of a run folder: written whole or not at all, and never over something else."""

import csv
import json
import os
import platform
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import metadata
from itertools import count
from pathlib import Path
from typing import IO, Any

import yaml
from filelock import FileLock, Timeout

from accel_clf import __version__
from accel_clf.config import Config, load, settings
from accel_clf.console import say
from accel_clf.errors import ConfigError
from accel_clf.process import is_first_process

LOCK = ".lock"
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


def write_json(path: Path, value: Any) -> None:
    with whole(path) as file:
        json.dump(value, file, indent=2, ensure_ascii=False)
        file.write("\n")


def read_json(path: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return read


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
        self.state = _state(self.folder, config)
        if not is_first_process():  # the first one has the folder for all
            return
        self._take()
        try:
            self.state = _state(self.folder, config)  # what it is now that nobody else changes it
            if config.resume == "never" and self.state != "new":
                self._set_aside()
                self.state = "new"
        except BaseException:
            self.release()
            raise

    def _take(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.lock = FileLock(self.folder / LOCK)
        try:
            self.lock.acquire(timeout=MOMENT)
        except Timeout:
            self.lock = None
            raise ConfigError(
                f"output {self.folder} is in use by another run",
                "one run a folder",
                "wait for it, or choose another --output",
            ) from None

    def _set_aside(self) -> None:
        aside = next(p for n in count(1) if not (p := self.folder.with_name(f"{self.folder.name}.{n}")).exists())
        self.release()
        self.folder.rename(aside)
        say(f"what {self.folder} held is in {aside} now (--resume never)")
        self._take()

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
    inside = sorted(path.name for path in folder.iterdir() if path.name != LOCK) if folder.exists() else []
    if not inside:
        return "new"
    if not (folder / "config.yaml").is_file():
        raise ConfigError(
            f"output {folder} holds files that are not a run's: {inside[0]}",
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
    "allow_changes",
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


def read_config(folder: Path) -> Config:
    """The settings of a run.

    Raises:
        ConfigError: the folder is not one of a run that got as far as a model.
    """
    if not (folder / "config.yaml").is_file() or not (folder / "model" / "config.json").is_file():
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


def answer(names: Sequence[str], probabilities: Iterable[float]) -> dict[str, Any]:
    """A row's label, its score, and every class's: what `predict` writes."""
    scores = {name: float(value) for name, value in zip(names, probabilities, strict=True)}
    label = max(scores, key=lambda name: scores[name])
    return {"label": label, "score": scores[label], "scores": scores}


def write_answers(
    file: IO[str], answers: Iterable[dict[str, Any]], columns: Sequence[str], names: Sequence[str], as_csv: bool
) -> None:
    """Answers as CSV, with a column `score:NAME` a class, or as JSON lines.

    Args:
        file: to write to.
        answers: with `columns` and "scores".
        columns: of the CSV, before the scores.
        names: of the classes.
        as_csv: or JSON lines.
    """
    if not as_csv:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in answers)
        return
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*columns, *(f"score:{name}" for name in names)])
    writer.writerows([*(row[column] for column in columns), *row["scores"].values()] for row in answers)
