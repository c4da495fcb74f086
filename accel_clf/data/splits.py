"""The training, validation and test rows of a configuration."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from accel_clf.config.schema import DataConfig, TargetConfig
from accel_clf.core.errors import MissingColumnError
from accel_clf.data import dataset, near_duplicates, splitting
from accel_clf.data.dataset import Dataset
from accel_clf.data.likely_columns import SAMPLE, with_guess
from accel_clf.data.readers.files import suffix_of
from accel_clf.data.sources import DEFAULT, first_rows, is_file, read_dataset
from accel_clf.data.texts import TextColumns
from accel_clf.targets.base import Target


class Splits(NamedTuple):
    """The rows of a run; all but train are None where the settings name none, held_out is a fold's."""

    train: Dataset
    validation: Dataset | None
    test: Dataset | None
    held_out: Dataset | None = None
    calibration: Dataset | None = None


def load(
    data: DataConfig,
    seed: int,
    settings: TargetConfig = DEFAULT,
    target: Target | None = None,
    with_folds: bool = False,
) -> Splits:
    """Read and split the rows as configured.

    Args:
        data: the settings.
        seed: of the splits and of the sample.
        settings: the kind of target, where it is not known yet.
        target: what is predicted; None takes what the training rows' labels suggest (see sources.read_dataset).
        with_folds: whether to read the training rows' folds, too, where the settings name their column.

    Raises:
        DataError: some rows cannot be read or used.
    """
    fold = data.fold if with_folds else None
    try:
        train = read_dataset(data.train, data, settings, split=data.split, target=target, fold=fold)
    except MissingColumnError as error:
        sample = first_rows(data.train, data, error.names, SAMPLE, split=data.split)
        raise with_guess(error, data, sample) from None
    train.target.check_labels(train.labels, train.origin)
    if data.limit:
        train = train.take(splitting.sample(train.target.strata(train.labels), data.limit, seed))
    train, calibration = _split_off(data.calibration, data, train, seed)
    train, validation = _split_off(data.validation, data, train, seed)
    return Splits(train, validation, _read_other(data.test, data, train), None, calibration)


def _split_off(
    source: float | str | None, data: DataConfig, train: Dataset, seed: int
) -> tuple[Dataset, Dataset | None]:
    """Split a share off the training rows, or read other rows; return what is left to train on, and those."""
    if not isinstance(source, float):
        return train, _read_other(source, data, train)
    kept, held_out = share(train, source, seed)
    return train.take(kept), train.take(held_out)


def share(rows: Dataset, held_out: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Hold out a share of rows; return the ascending indices (kept, held out). See splitting.holdout."""
    groups = rows.groups.codes if rows.groups else None
    return splitting.holdout(rows.target.strata(rows.labels), groups, held_out, seed)


def _read_other(source: str | None, data: DataConfig, train: Dataset) -> Dataset | None:
    """Read the rows of a file, or of another split of the training rows' Hub data set."""
    if source is None:
        return None
    return _read_beside(source, data.model_copy(update={"group": None}), train.target)


def has_splits(data: DataConfig) -> bool:
    """Return whether the training rows are a split of a Hub data set, which lies there or in a folder."""
    return data.train != "demo" and not is_file(data.train)


def is_split(source: str, data: DataConfig) -> bool:
    """Return whether a source of other rows names a split of the training rows' data set."""
    return has_splits(data) and re.fullmatch(r"[\w.]+(\[.*\])?", source) is not None and not is_file(source)


def _read_beside(source: str, data: DataConfig, target: Target) -> Dataset:
    if is_split(source, data):
        return read_dataset(data.train, data, split=source, target=target)
    return read_dataset(source, data, split="test", target=target)


def read_again(
    source: str | None, data: DataConfig, target: Target, optional: Sequence[str] = ("group", "slice")
) -> Dataset:
    """Read the source that some rows of a run are from, whole; with groups and slices, where it has their columns.

    Args:
        source: of validation, test or calibration rows, as the settings name it; None for that of the training rows.
        data: the run's settings.
        target: what the run predicts.
        optional: the settings of columns that it may lack.

    Raises:
        DataError: the source cannot be read, or has labels that the run does not know.
    """
    try:
        if source is None:
            return read_dataset(data.train, data, split=data.split, target=target)
        return _read_beside(source, data, target)
    except MissingColumnError as error:
        missing = {name: None for name in optional if getattr(data, name) not in (None, *error.names)}
        if not missing:
            raise
        return read_again(source, data.model_copy(update=missing), target, optional)


def warnings(splits: Splits, data: DataConfig) -> list[str]:
    """Describe what is suspicious about the rows, though not an error.

    Args:
        splits: the rows.
        data: the settings that they were read by.
    """
    messages = list(dict.fromkeys(note for rows in splits if rows is not None for note in rows.notes))
    for name, rows in splits._asdict().items():
        if rows is None:
            continue
        if blank := dataset.count_blank_texts(rows):
            skip = "--data.incomplete skip leaves such rows out"
            messages.append(f"{blank} of {len(rows)} {name} rows have an empty text; {skip}")
        if rows is splits.train:
            messages += [*_constant_text(rows), *_header_of_data(rows, data)]
        elif shared := int(dataset.shared_texts(splits.train, rows).sum()):
            messages.append(
                f"{shared} of {len(rows)} {name} rows have the text of a training row, which flatters the result"
            )
    return messages + _near_duplicates(splits, data)


def _constant_text(rows: Dataset) -> list[str]:
    if len(rows) > 1 and (rows.digests == rows.digests[0]).all():
        return [f"all {len(rows)} training rows have the same text: is it in another column? (data.text)"]
    return []


def _header_of_data(rows: Dataset, data: DataConfig) -> list[str]:
    """Tell of a first line that looks like a row: columns named like a label and a text that rows have."""
    label = data.label_columns[0]
    has_header = data.header and suffix_of(Path(data.train)) in (".csv", ".tsv")
    if not has_header or len(data.label_columns) > 1 or label not in rows.target.names:
        return []
    columns = TextColumns.of(data)
    has_spaces = any(" " in name for name in columns.names)
    of_header = dataset.digest(columns.text_of(columns.names, rows.origin))
    if not has_spaces and not any(row.tobytes() == of_header for row in rows.digests):
        return []
    return [
        f"the first line of {rows.origin} is read as the names of columns, and looks like a row: {label!r} is a label "
        "of other rows, too. Is a line of names missing?"
    ]


def _near_duplicates(splits: Splits, data: DataConfig) -> list[str]:
    if not data.near_duplicates:
        return []
    others = {name: rows for name, rows in splits._asdict().items() if rows is not None and rows is not splits.train}
    return list(
        dict.fromkeys(
            message
            for name, rows in others.items()
            for message in near_duplicates.warnings(splits.train, rows, f"{name} rows", "a training row")
        )
    )
