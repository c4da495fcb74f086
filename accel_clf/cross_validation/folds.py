"""All rows of a cross-validation, and which fold holds each out."""

from pathlib import Path
from typing import Any

import numpy as np

from accel_clf.config.schema import Config
from accel_clf.core.console import log
from accel_clf.core.errors import ConfigError
from accel_clf.core.files import read_json, write_json
from accel_clf.core.process_env import is_main_process
from accel_clf.data import splits, splitting
from accel_clf.data.splits import Splits
from accel_clf.run_folder import layout
from accel_clf.training import prepare
from accel_clf.training.prepare import PreparedRun


def fold_config(config: Config, fold: int) -> Config:
    """A fold's settings: a folder and a seed of its own, whichever others are trained beside it."""
    seed = int(np.random.SeedSequence((config.training.seed, fold)).generate_state(1)[0])
    return config.model_copy(
        update={
            "output": str(Path(config.output) / layout.fold_name(fold)),
            "training": config.training.model_copy(update={"seed": seed}),
            "resume": "auto",
        }
    )


class Folds:
    """All rows of a cross-validation, tokenized once, and the jobs that share them.

    Args:
        config: the settings.

    Attributes:
        whole: the job that all rows would make.
        assignment: int64 [rows], the fold that holds each row out.

    Raises:
        UserError: whatever the user can mend, in any of the folds.
    """

    def __init__(self, config: Config) -> None:
        found, self.assignment = _rows(config)
        self.config = config
        self.whole, _ = prepare.prepare_run(config, found)  # each fold loads the model anew, with a head of its own
        for fold in range(config.folds):
            self.job(fold)  # whose rows may not be enough for a share to validate on
        _warn_of_twins(found, self.assignment)

    def job(self, fold: int) -> PreparedRun:
        """A fold's. Its held-out rows have no say in which of its models is the best."""
        config, whole = fold_config(self.config, fold), self.whole
        learned, held_out = np.flatnonzero(self.assignment != fold), np.flatnonzero(self.assignment == fold)
        rows = whole.parts
        tokens = {part: its_tokens for part, its_tokens in whole.tokens.items() if part != "train"}
        validation = rows.validation
        if isinstance(config.data.validation, float):
            kept, measured = splits.share(rows.train.take(learned), config.data.validation, config.training.seed)
            validation = rows.train.take(learned[measured])
            tokens["validation"] = whole.tokens["train"].take(learned[measured])
            learned = learned[kept]
        tokens |= {"train": whole.tokens["train"].take(learned), "held_out": whole.tokens["train"].take(held_out)}
        found = Splits(rows.train.take(learned), validation, rows.test, rows.train.take(held_out))
        return PreparedRun(config, found, whole.tokenizer, tokens)


def _rows(config: Config) -> tuple[Splits, np.ndarray]:
    """The rows (those of the training data all as `train`), and the fold of each.

    Raises:
        UserError: they cannot be dealt out, or the folder's folds are of other rows.
    """
    share = isinstance(config.data.validation, float)
    data = config.data.model_copy(update={"validation": None}) if share else config.data
    found = prepare.read_splits(config.model_copy(update={"data": data}))
    rows = found.train
    slices, groups = (column.codes if column else None for column in (rows.slices, rows.groups))
    assignment = splitting.folds(
        rows.labels.codes, slices, groups, config.folds, config.training.seed, rows.label_names
    )
    if rows.groups:
        splitting.check_apart(rows.groups.codes, assignment, rows.groups.names)
    path = Path(config.output) / layout.FOLDS
    before = read_json(path) if path.is_file() else {}
    now = _as_json(config, found, assignment)
    if before and before != now:
        changed = "; ".join(
            f"{what} {_short(before.get(what))} -> {_short(now[what])}" for what in now if before.get(what) != now[what]
        )
        raise ConfigError(
            f"{path} is of other folds: {changed}",
            "the rows and folds that it began with",
            "undo the change, or choose another --output",
        )
    return found, assignment


def _as_json(config: Config, found: Splits, assignment: np.ndarray) -> dict[str, Any]:
    ids = found.train.ids
    return {
        "folds": config.folds,
        "seed": config.training.seed,
        "rows": found.train.digest(),
        "held_out": [ids[assignment == fold].tolist() for fold in range(config.folds)],
    }


def _short(value: Any) -> str:
    told = str(value)
    return told if len(told) <= 16 else f"{told[:12]}..."


def _write_folds(folds: Folds) -> None:
    output = Path(folds.config.output)
    write_json(output / layout.FOLDS, _as_json(folds.config, folds.whole.parts, folds.assignment), indent=None)
    layout.write_config(output, folds.config)


def _warn_of_twins(found: Splits, assignment: np.ndarray) -> None:
    texts, place = np.unique(found.train.digests, axis=0, return_inverse=True)
    in_folds = np.unique(np.stack([place.ravel(), assignment], axis=1), axis=0)[:, 0]
    twins = int((np.bincount(in_folds, minlength=len(texts)) > 1)[place.ravel()].sum())
    if twins and is_main_process():
        log(
            f"warning: {twins} rows have the text of a row in another fold, which flatters the result; "
            "data.group keeps such rows together"
        )
