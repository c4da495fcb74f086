"""What the folder of a run or a cross-validation says, finished or not: all that a report shows comes from here."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from accel_clf.config.load import load
from accel_clf.config.schema import Config
from accel_clf.core.errors import UserError
from accel_clf.run_folder import layout
from accel_clf.run_folder.answers import (
    ANSWER_FILES,
    OUT_OF_FOLD,
    cross_fitted_scores,
    read_answers,
    read_stored_logits,
    read_target,
    scores_of,
)
from accel_clf.run_folder.checked import RESTORE, explained, read_log, read_object
from accel_clf.run_folder.examples import read_examples
from accel_clf.run_folder.shapes import DataFacts, Environment, JointResults, RunResults
from accel_clf.targets.base import Target

SUSPECTS = "suspect_labels.csv"
SUSPECT_COLUMNS = ("row", "label", "predicted", "probability_of_label", "issue")


@dataclass(frozen=True)
class Predictions:
    """The predictions for labelled rows.

    Attributes:
        ids: int64 [rows].
        labels, decided: as the target encodes them.
        scores: float64 [rows, scores], of which metrics.json tells.
        before, after: the scores before and after a temperature, cross-fitted where it was fitted to these rows. Where
            there is none `after` is None.
        slices: of each row, object [rows]; None where there are none.
    """

    ids: np.ndarray
    labels: np.ndarray
    decided: np.ndarray
    scores: np.ndarray
    before: np.ndarray
    after: np.ndarray | None
    slices: np.ndarray | None


@dataclass(frozen=True)
class Evidence:
    """What a folder says.

    Attributes:
        folder: of the run or the cross-validation.
        config: its settings.
        metrics: of metrics.json; empty while it is not finished.
        logs: of metrics.jsonl: of the run, or of each fold by its name.
        environment: of environment.json; of a cross-validation that of its first fold.
        trainings: what metrics.json says of training: of the run, or of each finished fold by its name.
        facts: of rows.json; empty for runs of earlier versions.
        suspects: the rows of suspect_labels.csv.
        texts: (split, row) -> a text, or both of a pair.
    """

    folder: Path
    config: Config
    metrics: Mapping[str, Any]
    logs: Mapping[str, Sequence[Mapping[str, Any]]]
    environment: Mapping[str, Any]
    trainings: Mapping[str, Mapping[str, Any]]
    facts: Mapping[str, Any]
    suspects: Sequence[Mapping[str, str]]
    texts: Mapping[tuple[str, int], tuple[str, ...]]

    @property
    def is_cross_validation(self) -> bool:
        """Whether there are folds."""
        return layout.is_cross_validation(self.folder)

    @property
    def is_finished(self) -> bool:
        """Whether there are results."""
        return bool(self.metrics)

    @cached_property
    def split(self) -> str:
        """The rows that a report is about: those that say most; "" while there is none."""
        return next((name for name in ANSWER_FILES if name in self.metrics), "")

    @property
    def path(self) -> tuple[str, ...]:
        """Where metrics.json tells of the split."""
        return (self.split,)

    @property
    def results(self) -> Mapping[str, Any]:
        """What metrics.json says of the split."""
        results: Mapping[str, Any] = self.metrics[self.split]
        return results

    @property
    def model_config(self) -> Path:
        """The model's config.json, of a cross-validation that of its first fold's."""
        run = self.folder / layout.fold_name(0) if self.is_cross_validation else self.folder
        return layout.model_folder(run) / "config.json"

    @cached_property
    def target(self) -> Target | None:
        """What is predicted, as the model's config.json has it; None where there is no model."""
        return read_target(self.folder) if self.model_config.is_file() else None

    @cached_property
    def predictions(self) -> Predictions | None:
        """The predictions for the rows of the split; None where there is none, or the folder does not have them.

        Raises:
            UserError: they cannot be read, or are not those of the results.
        """
        if not self.split or self.missing or self.target is None:
            return None
        return _read_predictions(self, self.folder / ANSWER_FILES[self.split], self.target)

    @cached_property
    def missing(self) -> list[str]:
        """The files that the rows of the split are read from, and that a finished folder does not have."""
        if not self.split:
            return []
        paths = (self.model_config, self.folder / ANSWER_FILES[self.split])
        return [path.relative_to(self.folder).as_posix() for path in paths if not path.is_file()]


def read_evidence(folder: Path, with_texts: bool = True) -> Evidence:
    """Read the folder of a run or a cross-validation, finished or not.

    Args:
        folder: the folder.
        with_texts: whether to read texts.

    Raises:
        ConfigError: it is neither.
        UserError: a file in it is damaged.
    """
    layout.check_folder(folder)
    is_cross_validation = layout.is_cross_validation(folder)
    if is_cross_validation:
        folds = [folder / layout.fold_name(fold) for fold in range(layout.read_folds(folder))]
        folds = [fold for fold in folds if fold.is_dir()]
    else:
        folds = [folder]
    environments = [read_object(fold / "environment.json", Environment) for fold in folds]
    of_runs = {fold.name: read_object(fold / "metrics.json", RunResults) for fold in folds}
    metrics = read_object(folder / "metrics.json", JointResults) if is_cross_validation else of_runs[folder.name]
    suspects = _read_suspects(folder / SUSPECTS)
    if suspects and "suspect_labels" in metrics:
        _check_rows(folder / SUSPECTS, len(suspects), metrics["suspect_labels"]["listed"])
    return Evidence(
        folder,
        load(folder / "config.yaml", {}),
        metrics,
        {fold.name: read_log(fold / "metrics.jsonl") for fold in folds},
        next(filter(None, environments), {}),
        {name: results["training"] for name, results in of_runs.items() if results},
        read_object(folder / layout.DATA_FACTS, DataFacts),
        suspects,
        read_examples(folder) if with_texts else {},
    )


def _read_suspects(path: Path) -> list[dict[str, str]]:
    """Read what a cross-validation says of the labels that it doubts; empty where there is no such file."""
    if not path.is_file():
        return []
    with explained(path, RESTORE), path.open(encoding="utf-8", newline="") as file:
        lines = csv.DictReader(file)
        if missing := set(SUSPECT_COLUMNS) - set(lines.fieldnames or ()):
            raise ValueError(f"no column {', '.join(sorted(missing))}")
        rows = list(lines)
        if any(None in row.values() or None in row for row in rows):
            raise ValueError("a row is incomplete")
        for row in rows:
            float(row["probability_of_label"])
    return rows


def _read_predictions(evidence: Evidence, path: Path, target: Target) -> Predictions:
    answers = read_answers(path, target)
    _check_rows(path, len(answers.ids), evidence.results["rows"])
    scores, before, after = answers.scores, answers.scores, None
    if calibration := evidence.metrics.get("calibration"):
        if evidence.split in (OUT_OF_FOLD, "validation"):
            after = cross_fitted_scores(path, answers, target)
            scores = after if evidence.split == "validation" and after is not None else scores
        else:  # the saved model's logits are divided by the temperature already
            before = scores_of(target, read_stored_logits(path, target) * calibration["temperature"])
            after = scores
    return Predictions(answers.ids, answers.labels, answers.decided, scores, before, after, answers.slices)


def _check_rows(path: Path, rows: int, expected: int) -> None:
    """Check that a table is one of the results beside it."""
    if rows != expected:
        raise UserError(f"{path} has {rows:,} rows", f"{expected:,}, of which metrics.json beside it tells", RESTORE)


def without_texts(evidence: Evidence) -> Evidence:
    """Return what a folder says, but for texts."""
    hidden = {"text": "", "text_pair": ""}
    suspects = [{name: hidden.get(name, value) for name, value in row.items()} for row in evidence.suspects]
    return replace(evidence, texts={}, suspects=suspects)
