"""One label a text: classes that exclude each other, learned by cross-entropy, scored by softmax."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from accel_clf.config.metric_names import METRICS, NAMED_METRICS
from accel_clf.config.schema import DataConfig, TargetConfig
from accel_clf.targets import calibration, settings_checks
from accel_clf.targets.base import Cell, Suspects
from accel_clf.targets.classification import average_metrics
from accel_clf.targets.label_names import imbalance_warnings, name_warnings, ordered
from accel_clf.targets.metrics import Averages
from accel_clf.targets.objective import Objective
from accel_clf.targets.one_label import OneLabel
from accel_clf.targets.scores import probabilities


@dataclass(frozen=True)
class SingleLabel(OneLabel):
    """One of the classes `names`; a label is its index there, an int."""

    kind = "single_label"
    problem_type = "single_label_classification"
    default_metric = "accuracy"
    main_metric = "accuracy"
    function = "softmax"
    baseline_metrics = ("accuracy",)

    @classmethod
    def of_cells(cls, cells: Mapping[Cell, str], data: DataConfig, settings: TargetConfig) -> Self:
        return cls(ordered(map(str, cells)))

    def check_settings(self, settings: TargetConfig, metrics: Sequence[str]) -> None:
        settings_checks.no_thresholds(settings, self.kind)
        settings_checks.no_order(settings, self.kind)
        settings_checks.metrics(metrics, (*METRICS[self.kind], *NAMED_METRICS), self.names, self.kind)

    def objective(self, settings: TargetConfig, labels: np.ndarray) -> Objective:
        from accel_clf.targets.cross_entropy import PADDING_LABEL, cross_entropy_loss

        counts = np.bincount(labels, minlength=len(self.names))
        return Objective(labels.astype(np.int64), PADDING_LABEL, cross_entropy_loss(settings, counts))

    def scores(self, logits: np.ndarray) -> np.ndarray:
        return probabilities(logits)

    def logits(self, scores: np.ndarray) -> np.ndarray:
        logits: np.ndarray = np.log(scores)
        return logits

    def decide(self, scores: np.ndarray) -> np.ndarray:
        decided: np.ndarray = scores.argmax(axis=-1)
        return decided

    def _averages(self, labels: np.ndarray, scores: np.ndarray, decided: np.ndarray, named: Sequence[str]) -> Averages:
        return average_metrics(labels, scores, self.names, named, decided)

    def warnings(self, labels: np.ndarray, loss: str, metric: str) -> list[str]:
        counts = np.bincount(labels, minlength=len(self.names))
        return [
            *name_warnings(counts, self.names),
            *imbalance_warnings(counts, self.names, loss, metric, {"accuracy": "macro_f1"}),
        ]

    def describe(self) -> str:
        return f"{len(self.names)} labels"

    def calibration_weights(self, labels: np.ndarray, loss: str) -> np.ndarray | None:
        return 1 / np.bincount(labels)[labels] if loss in ("weighted", "logit_adjusted") else None

    def fit_temperature(self, logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> float:
        return calibration.fit_temperature(logits, labels, weights)

    def suspects(self, labels: np.ndarray, scores: np.ndarray) -> Suspects:
        """Find rows where another label is likelier.

        `is_issue` is confident learning's verdict (Northcutt et al., 2021, by cleanlab): likelier than other labels
        usually are, in that class.
        """
        return self.suspects_among(self.decide(scores) != labels, labels, scores)
