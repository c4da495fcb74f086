"""The labelled rows that runs have answered: as each run has kept them, or of a file that each reads now."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from accel_clf.config.load import changed
from accel_clf.config.schema import Config, DataConfig
from accel_clf.core.errors import ConfigError, DataError
from accel_clf.core.files import read_json
from accel_clf.data.dataset import Dataset
from accel_clf.data.splits import read_again
from accel_clf.reports.compare.weighted_metrics import Answers
from accel_clf.run_folder.answers import OUT_OF_FOLD, answer_files, cross_fitted_scores, read_answers, read_target
from accel_clf.run_folder.layout import FOLDS, read_config
from accel_clf.targets.base import Target
from accel_clf.targets.label_names import listed
from accel_clf.targets.regression import Regression

GIVEN = "data"  # the rows of --data
OPTIONAL = ("group", "slice")  # settings of columns that a source may lack


@dataclass(frozen=True, eq=False)
class RunRows:
    """What a run has answered for labelled rows.

    Attributes:
        folder: of the run.
        config: its settings.
        ids: int64 [rows], each row's index in the source.
        answers: for them.
        source: what identifies the source, but for the columns of its texts.
        rows: which rows these are: those of a file of answers, or GIVEN.
        folds: int64 [rows], which fold holds a row out; None where these are not held out by folds.
        slices: of each row, as the run has kept them; None where it has none.
        digest: of the texts and labels, as they were when the run began; None where it has none.
        given: the source, where it has just been read.
        requested: the columns of the source that must be read, of OPTIONAL.
    """

    folder: Path
    config: Config
    ids: np.ndarray
    answers: Answers
    source: tuple[str | None, ...]
    rows: str
    folds: np.ndarray | None = None
    slices: tuple[str, ...] | None = None
    digest: str | None = None
    given: Dataset | None = None
    requested: tuple[str, ...] = ()

    @property
    def text_columns(self) -> tuple[Any, ...]:
        """The columns that it reads of a row."""
        return self.config.data.text_columns, self.config.data.pair

    @cached_property
    def dataset(self) -> Dataset:
        """The source's rows.

        Raises:
            DataError: it cannot be read, or its rows are no longer those that the run has answered.
        """
        if self.given:
            return self.given
        data = self.config.data
        optional = [name for name in OPTIONAL if name not in self.requested]
        rows = read_again(_source_of(self.rows, data), data, self.answers.target, optional)
        indices = np.minimum(np.searchsorted(rows.ids, self.ids), len(rows) - 1)
        if not np.array_equal(rows.ids[indices], self.ids) or (rows.labels[indices] != self.answers.labels).any():
            raise DataError(f"{rows.origin} has changed since {self.folder} was trained", "its rows as they were")
        return rows.take(indices)


def stored(folders: Sequence[Path], rows: str | None, changes: dict[str, Any]) -> list[RunRows]:
    """Read the answers that several runs have kept for the same kind of rows.

    Args:
        folders: of the runs.
        rows: which rows, a key of ANSWER_FILES; None for the first kind that all runs have.
        changes: settings of `data` to read the rows' source by, instead of the runs'.

    Raises:
        ConfigError: a folder is not that of a run.
        DataError: a run is not finished; or the runs have no such rows, or answer them with different labels.
    """
    configs = [read_config(folder) for folder in folders]
    files = [answer_files(folder) for folder in folders]
    common = [kind for kind in files[0] if all(kind in of_run for of_run in files)]
    if rows is None and common:
        rows = common[0]
    if rows not in common:
        for folder, of_run in zip(folders, files, strict=True):
            if not of_run and not (folder / "metrics.json").is_file():
                raise DataError(f"{folder}: an unfinished run", "finished runs", "`accel-clf train` again continues it")
        have = "; ".join(
            f"{folder}: {', '.join(of_run) or 'none'}" for folder, of_run in zip(folders, files, strict=True)
        )
        raise DataError(
            f"the runs have not kept answers for the same {rows or 'kind of'} rows ({have})",
            "test rows of each run (data.test), or cross-validations",
            "--data FILE, whose labelled rows each of the runs then answers",
        )
    targets = [read_target(folder) for folder in folders]
    check_comparable(folders, targets)
    return [
        _stored(folder, config, rows, path[rows], target, targets[0], changes)
        for folder, config, path, target in zip(folders, configs, files, targets, strict=True)
    ]


def _stored(
    folder: Path, config: Config, rows: str, path: Path, target: Target, common: Target, changes: dict[str, Any]
) -> RunRows:
    read = read_answers(path, target, common)
    if not len(read.ids):
        raise DataError(f"{path}: no rows", "rows to compare")
    data = config.data
    source = _source_of(rows, data)
    # Scores of out-of-fold rows are those of the models alone, as in metrics.json.
    fitted = cross_fitted_scores(path, read, target, common) if rows == "validation" else None
    scores = read.scores if fitted is None else fitted
    return RunRows(
        folder=folder,
        config=config.model_copy(update={"data": changed(data, changes)}),
        ids=read.ids,
        answers=Answers(common, read.labels, scores, read.decided),
        source=(source or data.train, data.config, data.revision, data.split if source is None else None),
        rows=rows,
        folds=read.parts if rows == OUT_OF_FOLD else None,
        slices=None if read.slices is None else tuple(read.slices),
        digest=read_json(folder / FOLDS)["rows"] if rows == OUT_OF_FOLD else None,
        requested=tuple(name for name in OPTIONAL if name in changes),
    )


def answered(
    folders: Sequence[Path],
    source: str,
    changes: dict[str, Any],
    *,
    config: str | None,
    split: str,
    precision: str,
) -> list[RunRows]:
    """Let several runs answer the rows of a source.

    Args:
        folders: of the runs.
        source: a file, or a Hub data set's id or folder.
        changes: settings of `data` to read it by, instead of the runs'.
        config, split: of a Hub data set.
        precision: of matrix products.

    Raises:
        ConfigError: a folder is not that of a run.
        DataError: rows cannot be read or answered, or the runs answer with different labels.
    """
    from accel_clf.inference.bulk import columns_of, score_source
    from accel_clf.inference.predictor import Predictor

    configs = [read_config(folder) for folder in folders]
    targets = [read_target(folder) for folder in folders]
    check_comparable(folders, targets)
    runs = []
    group = changes.get("group")
    for folder, settings in zip(folders, configs, strict=True):
        data = columns_of(settings.data, source, changes, config).model_copy(update={"group": group})
        predictor = Predictor(folder, precision)
        rows, per_model = score_source(predictor, source, data, split=split, show_progress=True)
        scores = predictor.ensemble_scores(per_model)
        answers = Answers(predictor.target, rows.labels, scores, predictor.target.decide(scores))
        runs.append(
            RunRows(
                folder=folder,
                config=settings.model_copy(update={"data": data}),
                ids=rows.ids,
                answers=with_labels_of(targets[0], answers),
                source=(source, split),
                rows=GIVEN,
                given=rows,
            )
        )
    return runs


def with_labels_of(target: Target, answers: Answers) -> Answers:
    """Return answers with their labels in the order of a target that has the same ones."""
    names = answers.target.names
    if names == target.names or isinstance(target, Regression):
        return Answers(target, answers.labels, answers.scores, answers.decided)
    order = np.array([names.index(name) for name in target.names])
    if answers.labels.ndim == 2:
        labels, decided = answers.labels[:, order], answers.decided[:, order]
    else:
        new_codes = np.argsort(order).astype(target.label_type)
        labels, decided = new_codes[answers.labels], new_codes[answers.decided]
    return Answers(target, labels, answers.scores[:, order], decided)


def check_comparable(folders: Sequence[Path], targets: Sequence[Target]) -> None:
    """Check that all runs predict the same.

    Raises:
        ConfigError: they do not.
    """
    first = targets[0]
    for folder, target in zip(folders[1:], targets[1:], strict=True):
        if target.kind != first.kind:
            raise ConfigError(
                f"{folders[0]} predicts {first.describe()} ({first.kind}), and {folder} {target.describe()} "
                f"({target.kind})",
                "runs that predict the same",
            )
        if isinstance(first, Regression):
            continue
        if set(target.names) != set(first.names):
            alone = [
                f"only {of} has {listed(names)}"
                for of, names in ((folders[0], _less(first, target)), (folder, _less(target, first)))
                if names
            ]
            raise ConfigError("the runs have different labels: " + "; ".join(alone), "runs with the same labels")
        if first.kind == "ordinal" and target.names != first.names:
            raise ConfigError(
                f"the labels' order is {listed(first.names)} in {folders[0]}, and {listed(target.names)} in {folder}",
                "runs with the same order (target.order)",
            )


def _less(target: Target, other: Target) -> list[str]:
    return [name for name in target.names if name not in other.names]


def _source_of(rows: str, data: DataConfig) -> str | None:
    """Return the source of rows as settings name it; None for that of the training rows."""
    if rows in ("validation", "test"):
        source = getattr(data, rows)
        return None if isinstance(source, float) else source
    return None
