"""All rows of a cross-validation, tokenized once, and which fold holds each out."""

from pathlib import Path
from typing import Any

import numpy as np

from accel_clf.config.schema import Config
from accel_clf.core.console import log
from accel_clf.core.errors import ConfigError
from accel_clf.core.files import read_json, write_json
from accel_clf.core.process_env import is_main_process
from accel_clf.data import near_duplicates, splits, splitting
from accel_clf.data.dataset import Dataset
from accel_clf.data.splits import Splits
from accel_clf.run_folder import layout
from accel_clf.training.prepare import PreparedRun, prepare_run, read_splits


def fold_config(config: Config, fold: int) -> Config:
    """Return a fold's settings: a folder and a seed of its own, whichever others are trained beside it."""
    seed = int(np.random.SeedSequence((config.training.seed, fold)).generate_state(1)[0])
    return config.model_copy(
        update={
            "output": str(Path(config.output) / layout.fold_name(fold)),
            "training": config.training.model_copy(update={"seed": seed}),
            "resume": "auto",
        }
    )


class Folds:
    """All rows of a cross-validation, tokenized once, and the runs that share them.

    Args:
        config: the settings.

    Attributes:
        all_rows: the run that all rows would make.
        assignment: int64 [rows], the fold that holds each row out.

    Raises:
        UserError: whatever the user can fix, in any of the folds.
    """

    def __init__(self, config: Config) -> None:
        rows, self.assignment = assign_folds(config)
        self.all_rows, _ = prepare_run(config, rows)  # each fold loads the model again, with a head of its own
        self.config = self.all_rows.config
        for fold in range(config.folds):
            self.prepare(fold)  # whose rows may not be enough for a share to validate on
        if is_main_process():
            _warn_of_duplicates(rows.train, self.assignment, config.data.near_duplicates)

    def prepare(self, fold: int) -> PreparedRun:
        """Prepare a fold's run. Its held-out rows do not influence which of its models is the best."""
        config, rows, tokens = fold_config(self.config, fold), self.all_rows.splits, self.all_rows.tokens
        learned, held_out = np.flatnonzero(self.assignment != fold), np.flatnonzero(self.assignment == fold)
        fold_tokens = {split: part for split, part in tokens.items() if split != "train"}
        validation = rows.validation
        if isinstance(config.data.validation, float):
            kept, validated = splits.share(rows.train.take(learned), config.data.validation, config.training.seed)
            validation = rows.train.take(learned[validated])
            fold_tokens["validation"] = tokens["train"].take(learned[validated])
            learned = learned[kept]
        fold_tokens |= {"train": tokens["train"].take(learned), "held_out": tokens["train"].take(held_out)}
        held_out_rows = rows.train.take(held_out)
        fold_rows = Splits(rows.train.take(learned), validation, rows.test, held_out_rows, rows.calibration)
        return PreparedRun(config, fold_rows, self.all_rows.tokenizer, fold_tokens)

    def write(self) -> None:
        """Write folds.json and config.yaml into the cross-validation's folder."""
        output = Path(self.config.output)
        content = _to_json(self.config, self.all_rows.splits, self.assignment)
        write_json(output / layout.FOLDS, content, indent=None)
        layout.write_config(output, self.config)


def assign_folds(config: Config) -> tuple[Splits, np.ndarray]:
    """Read the rows and assign each row of the training data to the fold that holds it out.

    Returns:
        The rows, those of the training data all as `train`, and int64 [rows], each one's fold.

    Raises:
        UserError: they cannot be split into folds, or the folder's folds are of other rows.
    """
    has_share = isinstance(config.data.validation, float)
    data = config.data.model_copy(update={"validation": None}) if has_share else config.data
    rows = read_splits(config.model_copy(update={"data": data}))
    train = rows.train
    slices, groups = (column.codes if column else None for column in (train.slices, train.groups))
    assignment = splitting.folds(
        train.target.strata(train.labels), slices, groups, config.folds, config.training.seed, train.target.strata_names
    )
    if train.groups:
        splitting.check_apart(train.groups.codes, assignment, train.groups.names)
    path = Path(config.output) / layout.FOLDS
    before = read_json(path) if path.is_file() else {}
    now = _to_json(config, rows, assignment)
    if before and before != now:
        changes = "; ".join(
            f"{key} {_abbreviate(before.get(key))} -> {_abbreviate(now[key])}"
            for key in now
            if before.get(key) != now[key]
        )
        raise ConfigError(
            f"{path} is of other folds: {changes}",
            "the rows and folds that it began with",
            "undo the change, or choose another --output",
        )
    return rows, assignment


def _to_json(config: Config, rows: Splits, assignment: np.ndarray) -> dict[str, Any]:
    ids = rows.train.ids
    return {
        "folds": config.folds,
        "seed": config.training.seed,
        "rows": rows.train.digest(),
        "held_out": [ids[assignment == fold].tolist() for fold in range(config.folds)],
    }


def _abbreviate(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 16 else f"{text[:12]}..."


def _warn_of_duplicates(rows: Dataset, assignment: np.ndarray, search_near: bool) -> None:
    texts, text_of_row = np.unique(rows.twin_keys(), axis=0, return_inverse=True)
    pairs = np.unique(np.stack([text_of_row.ravel(), assignment], axis=1), axis=0)  # of a text and a fold
    folds_per_text = np.bincount(pairs[:, 0], minlength=len(texts))
    duplicates = int((folds_per_text > 1)[text_of_row.ravel()].sum())
    if duplicates:
        log(
            f"warning: {duplicates} rows have the text of a row in another fold, which flatters the result; "
            "data.group keeps such rows together"
        )
    if search_near:
        for message in near_duplicates.warnings(rows, rows, "rows", "a row in another fold", assignment):
            log(f"warning: {message}")
