"""What lies where in the folder of a run or a cross-validation."""

import json
from pathlib import Path

import yaml

from accel_clf.config.load import load
from accel_clf.config.schema import Config
from accel_clf.core.errors import ConfigError
from accel_clf.core.files import atomic_write

FOLDS = "folds.json"  # what a cross-validation's folder has, and a run's has not


def contents(folder: Path) -> list[str]:
    """What is in a folder; without its lock, and what a process that was killed had not finished writing."""
    return sorted(path.name for path in folder.iterdir() if path.name[0] != ".") if folder.is_dir() else []


def write_config(folder: Path, config: Config) -> None:
    with atomic_write(folder / "config.yaml") as file:
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
    with atomic_write(path) as new:
        new.write(b"".join(lines).decode())
