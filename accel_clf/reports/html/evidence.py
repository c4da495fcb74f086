"""What the folder of a run or a cross-validation says, finished or not: all that a report shows comes from here."""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from accel_clf.config.load import load
from accel_clf.config.schema import Config
from accel_clf.core.errors import ConfigError, UserError
from accel_clf.core.files import read_json
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
from accel_clf.run_folder.examples import read_examples
from accel_clf.targets.base import Target

SPLIT_NAMES = {
    OUT_OF_FOLD: "out-of-fold", "test": "test", "held_out": "held-out", "validation": "validation",
    "train": "training", "calibration": "calibration",
}  # fmt: skip


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

    @cached_property
    def target(self) -> Target | None:
        """What is predicted, as the model's config.json has it; None where there is no model yet."""
        run = self.folder / layout.fold_name(0) if self.is_cross_validation else self.folder
        return read_target(self.folder) if (layout.model_folder(run) / "config.json").is_file() else None

    @cached_property
    def predictions(self) -> Predictions | None:
        """The predictions for the rows of the split; None where the folder does not have them."""
        path = self.folder / ANSWER_FILES[self.split] if self.split else None
        if path is None or not path.is_file() or self.target is None:
            return None
        return _read_predictions(self, path, self.target)


def read_evidence(folder: Path, with_texts: bool = True) -> Evidence:
    """Read the folder of a run or a cross-validation, finished or not.

    Args:
        folder: the folder.
        with_texts: whether to read texts.

    Raises:
        ConfigError: it is neither.
        UserError: a file in it cannot be read.
    """
    if not (folder / "config.yaml").is_file():
        raise ConfigError(
            f"{folder}: {'no run' if folder.is_dir() else 'no such folder'}",
            "the folder of a run or a cross-validation",
            "check the path, or train first",
        )
    if layout.is_cross_validation(folder):
        folds = [folder / layout.fold_name(fold) for fold in range(load(folder / "config.yaml", {}).folds)]
        folds = [fold for fold in folds if fold.is_dir()]
    else:
        folds = [folder]
    environments = [fold / "environment.json" for fold in folds]
    suspects = folder / "suspect_labels.csv"
    return Evidence(
        folder,
        load(folder / "config.yaml", {}),
        _read(folder / "metrics.json", read_json, {}),
        {fold.name: _read(fold / "metrics.jsonl", _read_log, []) for fold in folds},
        next((_read(path, read_json, {}) for path in environments if path.is_file()), {}),
        {
            fold.name: finished["training"]
            for fold in folds
            if (finished := _read(fold / "metrics.json", read_json, {}))
        },
        _read(folder / layout.DATA_FACTS, read_json, {}),
        _read(suspects, _read_table, []),
        read_examples(folder) if with_texts else {},
    )


def _read(path: Path, read: Callable[[Path], Any], default: Any) -> Any:
    if not path.is_file():
        return default
    try:
        return read(path)
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path} cannot be read ({error})", "what training has written there") from None


def _read_log(path: Path) -> list[dict[str, Any]]:
    """Read the lines of metrics.jsonl but for an incomplete last one, which is still being written."""
    with path.open("rb") as file:
        return [json.loads(line) for line in file if line.endswith(b"\n")]


def _read_table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _read_predictions(evidence: Evidence, path: Path, target: Target) -> Predictions:
    answers = read_answers(path, target)
    scores, before, after = answers.scores, answers.scores, None
    if calibration := evidence.metrics.get("calibration"):
        if evidence.split in (OUT_OF_FOLD, "validation"):
            after = cross_fitted_scores(path, answers, target)
            scores = after if evidence.split == "validation" and after is not None else scores
        else:  # the saved model's logits are divided by the temperature already
            before = scores_of(target, read_stored_logits(path, target) * calibration["temperature"])
            after = scores
    return Predictions(answers.ids, answers.labels, answers.decided, scores, before, after, answers.slices)


def without_texts(evidence: Evidence) -> Evidence:
    """Return what a folder says, but for texts."""
    hidden = {"text": "", "text_pair": ""}
    suspects = [{name: hidden.get(name, value) for name, value in row.items()} for row in evidence.suspects]
    return replace(evidence, texts={}, suspects=suspects)
