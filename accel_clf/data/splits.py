"""The training, validation and test rows of a configuration."""

import re
from typing import NamedTuple

import numpy as np

from accel_clf.config.schema import DataConfig, TargetConfig
from accel_clf.core.errors import MissingColumnError
from accel_clf.data import dataset, splitting
from accel_clf.data.dataset import Dataset
from accel_clf.data.likely_columns import SAMPLE, with_guess
from accel_clf.data.sources import DEFAULT, first_rows, is_file, read_dataset
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
        sample = first_rows(data.train, error.names, SAMPLE, config=data.config, split=data.split)
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
    ungrouped = data.model_copy(update={"group": None})
    from_hub = data.train != "demo" and not is_file(data.train)
    if from_hub and re.fullmatch(r"[\w.]+(\[.*\])?", source) and not is_file(source):
        return read_dataset(data.train, ungrouped, split=source, target=train.target)
    return read_dataset(source, ungrouped, split="test", target=train.target)


def warnings(splits: Splits) -> list[str]:
    """Describe what is suspicious about the rows, though not an error."""
    messages = []
    for name, rows in splits._asdict().items():
        if rows is None:
            continue
        if empty := dataset.count_empty_texts(rows):
            messages.append(f"{empty} of {len(rows)} {name} rows have an empty text")
        if rows is not splits.train and (shared := dataset.count_shared_texts(splits.train, rows)):
            messages.append(
                f"{shared} of {len(rows)} {name} rows have the text of a training row, which flatters the result"
            )
    return messages
