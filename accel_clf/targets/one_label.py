"""What targets have in common whose texts have one label each."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from accel_clf.core.errors import DataError
from accel_clf.targets import calibration
from accel_clf.targets.base import Cell, Suspects, Target
from accel_clf.targets.classification import confusion, label_metrics
from accel_clf.targets.label_names import code_of, rare_labels_expected
from accel_clf.targets.metrics import Averages, Metrics
from accel_clf.targets.named_metrics import brier


@dataclass(frozen=True)
class OneLabel(Target):
    """One of the labels `names`; a label is its index there, an int."""

    label_type = np.int32
    has_score = True
    baseline_name = "logistic regression"

    @cached_property
    def _codes(self) -> dict[str, int]:
        return {name: code for code, name in enumerate(self.names)}

    def encode(self, cell: Cell, location: str) -> int:
        return code_of(cell, self._codes, location)

    def to_text(self, label: Any) -> str:
        name: str = self.names[label]
        return name

    def answer(self, scores: np.ndarray) -> dict[str, Any]:
        code, values = int(self.decide(scores)), scores.tolist()
        return {"label": self.names[code], "score": values[code], "scores": dict(zip(self.names, values, strict=True))}

    def answer_text(self, answer: Mapping[str, Any]) -> str:
        label: str = answer["label"]
        return label

    def check_labels(self, labels: np.ndarray, origin: str) -> None:
        if len(present := np.unique(labels)) < 2:
            raise DataError(
                f"{origin}: all {len(labels)} rows have the label {self.names[present[0]]!r}", "two labels or more"
            )

    def strata(self, labels: np.ndarray) -> np.ndarray:
        return labels

    def _measure(self, labels: np.ndarray, scores: np.ndarray, decided: np.ndarray, named: Sequence[str]) -> Metrics:
        averages = self._averages(labels, scores, decided, named)
        return Metrics(
            averages.rows,
            averages.values,
            label_metrics(labels, decided, self.names),
            confusion(labels, decided, len(self.names)),
        )

    @abstractmethod
    def _averages(self, labels: np.ndarray, scores: np.ndarray, decided: np.ndarray, named: Sequence[str]) -> Averages:
        """Compute the metrics of some rows that are one number."""

    def calibration_errors(
        self, labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None
    ) -> dict[str, float]:
        return {
            "expected_calibration_error": calibration.expected_calibration_error(scores, labels, weights),
            "brier": brier(labels, scores, weights),
        }

    def suspects_among(self, is_doubted: np.ndarray, labels: np.ndarray, scores: np.ndarray) -> Suspects:
        """List doubted rows, bool [rows]; `is_issue` is confident learning's verdict (Northcutt et al., 2021)."""
        from cleanlab.filter import find_label_issues  # takes seconds

        with rare_labels_expected():
            is_issue = find_label_issues(labels, scores, n_jobs=1)
        label_scores = scores[np.arange(len(labels)), labels]
        doubted = np.flatnonzero(is_doubted)
        return Suspects(doubted[np.argsort(label_scores[doubted], kind="stable")], label_scores, is_issue)

    def baseline(self) -> Any:
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(max_iter=1000)

    def baseline_scores(self, estimator: Any, features: Any) -> np.ndarray:
        scores = np.zeros((features.shape[0], len(self.names)))
        scores[:, estimator.classes_] = estimator.predict_proba(features)
        return scores
