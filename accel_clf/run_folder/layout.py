"""The files in the folder of a run or a cross-validation."""

from pathlib import Path

import yaml

from accel_clf.config.load import load
from accel_clf.config.schema import Config
from accel_clf.core.errors import ConfigError, UserError
from accel_clf.core.files import atomic_write
from accel_clf.run_folder.checked import RESTORE, parse_log, read_object
from accel_clf.run_folder.shapes import Folds

FOLDS = "folds.json"  # only in the folder of a cross-validation
SPLIT_NAMES = {  # for people
    "out_of_fold": "out-of-fold", "test": "test", "held_out": "held-out", "validation": "validation",
    "train": "training", "calibration": "calibration",
}  # fmt: skip
DATA_FACTS = "rows.json"  # what the rows are like
TEMPERATURES = "temperatures.json"  # the cross-fitted ones, by fold of out_of_fold.csv or part of validation.csv
ADAPTER = "adapter"  # only in that of a run with LoRA: what was trained, in peft's format, beside the merged model


def contents(folder: Path) -> list[str]:
    """List the names in a folder, without its lock and the unfinished files of a killed process; none if it is gone."""
    try:
        return sorted(path.name for path in folder.iterdir() if path.name[0] != ".")
    except (FileNotFoundError, NotADirectoryError):  # no look beforehand: rank 0 may remove an empty folder at any time
        return []


def config_text(config: Config) -> str:
    """Return what config.yaml has of settings."""
    text: str = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    return text


def write_config(folder: Path, config: Config) -> None:
    """Write the settings of a run or a cross-validation to its config.yaml."""
    with atomic_write(folder / "config.yaml") as file:
        file.write(config_text(config))


def fold_name(fold: int) -> str:
    """Return the name of a fold's run folder, inside that of the cross-validation."""
    return f"fold-{fold}"


def model_folder(run: Path) -> Path:
    """Return the folder of a run's model: inside of it or, as `accel-clf push` lays it out for the Hub, its own."""
    return run if (run / "config.json").is_file() else run / "model"


def is_cross_validation(folder: Path) -> bool:
    """Return whether this is the folder of a cross-validation."""
    return (folder / FOLDS).is_file()


def check_folder(folder: Path, *, may_begin: bool = False) -> None:
    """Check that this is the folder of a run or a cross-validation.

    Args:
        folder: which.
        may_begin: whether it may be empty, as a run finds it.

    Raises:
        ConfigError: it is not.
        UserError: it has folds, but not the file that says so.
    """
    names = contents(folder)
    if fold_name(0) in names and FOLDS not in names:
        raise UserError(f"{folder} has folds, but no {FOLDS}", "all that a cross-validation has written there", RESTORE)
    if "config.yaml" in names or (may_begin and folder.is_dir() and (FOLDS in names or not names)):
        return
    raise ConfigError(
        f"{folder}: {'no run' if folder.is_dir() else 'no such folder'}",
        "the folder of a run or a cross-validation",
        "check the path, or train first",
    )


def read_folds(folder: Path) -> int:
    """Read how many folds a cross-validation has.

    Raises:
        UserError: folds.json is damaged.
    """
    count: int = read_object(folder / FOLDS, Folds)["folds"]
    return count


def read_config(folder: Path) -> Config:
    """Read the settings of a run with a model, or of a finished cross-validation.

    Raises:
        ConfigError: the folder has no such run.
        UserError: folds.json is damaged.
    """
    if is_cross_validation(folder):
        read_folds(folder)
        if not (folder / "metrics.json").is_file():
            raise ConfigError(
                f"{folder}: an unfinished cross-validation", "all folds, finished and collected", "`accel-clf cv` again"
            )
    elif not (folder / "config.yaml").is_file() or not (model_folder(folder) / "config.json").is_file():
        problem = "no such folder" if not folder.is_dir() else "no trained run"
        raise ConfigError(
            f"{folder}: {problem}", "the folder that `accel-clf train` wrote", "check the path, or train first"
        )
    return load(folder / "config.yaml", {})


def truncate_log(folder: Path, step: int) -> None:
    """Cut metrics.jsonl back to what was known after a step; drops an incomplete last line, too."""
    path = folder / "metrics.jsonl"
    if not path.is_file():
        return
    with path.open("rb") as file:
        complete = [line for line in file if line.endswith(b"\n")]
    lines = [line for line in complete if all(of["step"] <= step for of in parse_log(path, line))]
    with atomic_write(path) as log:
        log.write(b"".join(lines).decode())
