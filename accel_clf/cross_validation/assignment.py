"""Which fold holds each row out: dealt out at random, or given by a column; and what is suspicious about that."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from accel_clf.config.schema import Config
from accel_clf.core.errors import ConfigError, DataError, MissingColumnError
from accel_clf.core.files import read_json, write_json
from accel_clf.data import near_duplicates, sources, splitting
from accel_clf.data.dataset import Dataset
from accel_clf.data.splits import Splits
from accel_clf.run_folder import layout
from accel_clf.targets.label_names import MAX_NAMES_IN_MESSAGE, listed
from accel_clf.training.prepare import read_splits


def with_given_folds(config: Config) -> Config:
    """Return the settings with as many folds as data.fold has values, where it is set.

    A folder that a cross-validation has begun in knows them: a finished one needs no data.

    Raises:
        UserError: a row has no fold, all have the same, or `folds` is set to another number.
    """
    column, data, path = config.data.fold, config.data, Path(config.output) / layout.FOLDS
    if column is None:
        return config
    begun = read_json(path) if path.is_file() and config.resume != "never" else {}
    if "names" in begun:
        count = len(begun["names"])
    else:
        try:
            count = len(sources.read_names(data.train, data, column, split=data.split))
        except MissingColumnError as error:
            raise DataError(error.got, error.expected, "name the column with the folds by --data.fold") from None
    if count < 2:
        raise DataError(
            f"{data.train}: all rows have the same value in column {column!r} (data.fold)", "two folds or more"
        )
    if "folds" in config.model_fields_set and config.folds != count:
        raise ConfigError(
            f"folds is {config.folds}, and column {column!r} (data.fold) has {count} different values",
            "as many folds as values",
            f"leave `folds` out, or --folds {count}",
        )
    return config.model_copy(update={"folds": count})


def assign_folds(config: Config) -> tuple[Splits, np.ndarray]:
    """Read the rows and assign each row of the training data to the fold that holds it out.

    Args:
        config: the settings, by `with_given_folds`.

    Returns:
        The rows, those of the training data all as `train`, and int64 [rows], each one's fold.

    Raises:
        UserError: they cannot be split into folds, or the folder's folds are of other rows.
    """
    has_share = isinstance(config.data.validation, float)
    data = config.data.model_copy(update={"validation": None}) if has_share else config.data
    rows = read_splits(config.model_copy(update={"data": data}), with_folds=True)
    train = rows.train
    assignment = _given(train, config.folds) if train.folds else _dealt(train, config)
    for fold in range(config.folds):
        train.target.check_labels(train.labels[assignment != fold], f"{train.origin}, all folds but {fold}")
    path = Path(config.output) / layout.FOLDS
    before = read_json(path) if path.is_file() else {}
    now = _to_json(config, train, assignment)
    if before and before != now:
        changes = "; ".join(
            f"{key} {_abbreviate(before.get(key))} -> {_abbreviate(now.get(key))}"
            for key in now | before
            if before.get(key) != now.get(key)
        )
        raise ConfigError(
            f"{path} is of other folds: {changes}",
            "the rows and folds that it began with",
            "undo the change, or choose another --output",
        )
    return rows, assignment


def _dealt(rows: Dataset, config: Config) -> np.ndarray:
    """Deal rows out to folds at random."""
    slices, groups = (column.codes if column else None for column in (rows.slices, rows.groups))
    assignment = splitting.folds(rows.target.strata(rows.labels), slices, groups, config.folds, config.training.seed)
    if rows.groups:
        splitting.check_apart(rows.groups.codes, assignment, rows.groups.names)
    return assignment


def _given(rows: Dataset, count: int) -> np.ndarray:
    """Read each row's fold from its column; folds are counted in the order of `fold_names`."""
    names = fold_names(rows)
    of_names = {name: fold for fold, name in enumerate(names)}
    assert rows.folds is not None
    assignment: np.ndarray = np.array([of_names[name] for name in rows.folds.names], np.int64)[rows.folds.codes]
    sizes = np.bincount(assignment, minlength=count)
    if not sizes.all():
        empty = names[int(sizes.argmin())]
        raise DataError(
            f"{rows.origin}: no row of fold {empty!r} is among the {len(rows)} that there are to train on",
            "a row of each fold",
            "another --data.limit or share for --data.calibration, or complete rows of that fold",
        )
    return assignment


def fold_names(rows: Dataset) -> tuple[str, ...]:
    """Return the names of folds that a column gives, "fold 2" before "fold 10"; none for folds that are dealt out."""

    def key(name: str) -> tuple[list[str | int], str]:
        parts = re.split(r"(\d+)", name)  # texts, and numbers between them
        return [int(part) if index % 2 else part.casefold() for index, part in enumerate(parts)], name

    return tuple(sorted(rows.folds.names, key=key)) if rows.folds else ()


def write_folds(config: Config, rows: Dataset, assignment: np.ndarray) -> None:
    """Write folds.json into the cross-validation's folder."""
    write_json(Path(config.output) / layout.FOLDS, _to_json(config, rows, assignment), indent=None)


def _to_json(config: Config, rows: Dataset, assignment: np.ndarray) -> dict[str, Any]:
    names = fold_names(rows)
    return {
        "folds": config.folds,
        "seed": config.training.seed,
        "rows": rows.digest(),
        "held_out": [rows.ids[assignment == fold].tolist() for fold in range(config.folds)],
        **({"names": list(names)} if names else {}),
    }


def _abbreviate(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 16 else f"{text[:12]}..."


def warnings(rows: Dataset, assignment: np.ndarray, config: Config) -> list[str]:
    """Describe what is suspicious about folds, though not an error."""
    messages = _rare_labels(rows, assignment, config.folds)
    if rows.groups and len(divided := splitting.divided_groups(rows.groups.codes, assignment)):
        messages.append(
            f"{len(divided)} of {len(np.unique(rows.groups.codes))} groups (data.group) are in two given folds or "
            f"more, {rows.groups.names[divided[0]]!r} first, which flatters the result"
        )
    texts, text_of_row = np.unique(rows.twin_keys(), axis=0, return_inverse=True)
    pairs = np.unique(np.stack([text_of_row.ravel(), assignment], axis=1), axis=0)  # of a text and a fold
    folds_per_text = np.bincount(pairs[:, 0], minlength=len(texts))
    if duplicates := int((folds_per_text > 1)[text_of_row.ravel()].sum()):
        hint = "" if rows.folds else "; data.group keeps such rows together"
        messages.append(f"{duplicates} rows have the text of a row in another fold, which flatters the result{hint}")
    if config.data.near_duplicates:
        messages += near_duplicates.warnings(rows, rows, "rows", "a row in another fold", assignment)
    return messages


def _rare_labels(rows: Dataset, assignment: np.ndarray, folds: int) -> list[str]:
    """Name the labels that some folds have no row of, and those that some fold's model never sees."""
    if (names := rows.target.strata_names) is None:
        return []
    counts, spread = splitting.folds_per_label(rows.target.strata(rows.labels), assignment, folds)

    rare, unseen = np.flatnonzero((counts > 0) & (spread < folds)), np.flatnonzero(spread == 1)
    if not len(rare):
        return []
    rarest = rare[np.argsort(counts[rare], kind="stable")]
    first = rarest[:MAX_NAMES_IN_MESSAGE]
    texts = [f"{names[code]!r} ({counts[code]} row{'' if counts[code] == 1 else 's'})" for code in first]
    message = (
        f"{len(rare)} of {len(names)} labels are not in all {folds} folds, which are measured by the labels they have: "
        + ", ".join(texts)
        + (" ..." if len(rare) > len(first) else "")
    )
    if len(unseen):
        message += (
            f"; all rows of {listed([names[code] for code in unseen])} are in one fold, whose model cannot learn that "
            "label and answers them wrongly"
        )
    return [message]
