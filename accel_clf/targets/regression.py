"""A number a text: learned as its distance from the mean in standard deviations, answered in its own unit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Self

import numpy as np

from accel_clf.config.metric_names import METRICS
from accel_clf.config.schema import DataConfig, TargetConfig
from accel_clf.core.errors import ConfigError, DataError
from accel_clf.targets import settings_checks
from accel_clf.targets.base import Cell, Suspects, Target
from accel_clf.targets.metrics import Averages, Metrics
from accel_clf.targets.objective import Objective, Rescaling

ROWS_PER_STRATUM, MAX_STRATA = 20, 10


@dataclass(frozen=True)
class Regression(Target):
    """A number; a label is a float64, and `names` is its column's."""

    kind = "regression"
    problem_type = "regression"
    default_metric = "mae"
    main_metric = "spearman"
    function = "none"
    label_type = np.float64
    has_score = False
    baseline_name = "ridge regression"
    baseline_metrics = METRICS["regression"]

    @classmethod
    def of_cells(cls, cells: Mapping[Cell, str], data: DataConfig, settings: TargetConfig) -> Self:
        return cls((data.label_columns[0],))

    @property
    def score_names(self) -> tuple[str, ...]:
        return ()  # the number itself

    def encode(self, cell: Cell, location: str) -> float:
        try:
            number = float(str(cell))
        except ValueError:
            number = float("nan")
        if not isfinite(number):
            raise DataError(f"{location}: the label is {cell!r}, and the target is regression", "a number, such as 3.5")
        return number

    def to_text(self, label: Any) -> str:
        number = float(label)
        return str(int(number)) if number.is_integer() else repr(number)

    def check_labels(self, labels: np.ndarray, origin: str) -> None:
        if not labels.std():
            raise DataError(
                f"{origin}: all {len(labels)} rows have the number {self.to_text(labels[0])}", "two or more"
            )

    def check_settings(self, settings: TargetConfig, metrics: Sequence[str]) -> None:
        settings_checks.no_thresholds(settings, self.kind)
        settings_checks.no_order(settings, self.kind)
        settings_checks.loss_is(settings, ("auto", "plain"), self.kind)
        settings_checks.metrics(metrics, METRICS[self.kind], (), self.kind)
        if settings.calibration != "none":
            raise ConfigError(
                f"target.calibration {settings.calibration}, and the target is regression",
                "a target with labels: a number has no probability",
            )

    def objective(self, settings: TargetConfig, labels: np.ndarray) -> Objective:
        from accel_clf.targets.binary_losses import squared_error

        # Of one fold's rows all numbers may be the same, though not of all rows.
        mean, deviation = float(labels.mean()), float(labels.std()) or 1.0
        standardized = ((labels - mean) / deviation).astype(np.float32)
        return Objective(standardized, float("nan"), squared_error, np.zeros(1), Rescaling(deviation, mean))

    def scores(self, logits: np.ndarray) -> np.ndarray:
        return logits.astype(np.float64)

    def logits(self, scores: np.ndarray) -> np.ndarray:
        return scores

    def decide(self, scores: np.ndarray) -> np.ndarray:
        decided: np.ndarray = scores[..., 0]
        return decided

    def answer(self, scores: np.ndarray) -> dict[str, Any]:
        return {"value": float(scores[0])}

    def answer_text(self, answer: Mapping[str, Any]) -> str:
        return self.to_text(answer["value"])

    def _measure(self, labels: np.ndarray, scores: np.ndarray, decided: np.ndarray, named: Sequence[str]) -> Metrics:
        averages = _averages(labels, decided)
        return Metrics(averages.rows, averages.values)

    def warnings(self, labels: np.ndarray, loss: str, metric: str) -> list[str]:
        return []

    def describe(self) -> str:
        return f"a number, {self.names[0]}"

    def strata(self, labels: np.ndarray) -> np.ndarray:
        """Return the quantile of each number, so that all parts have low and high ones."""
        count = int(np.clip(len(labels) // ROWS_PER_STRATUM, 1, MAX_STRATA))
        edges = np.quantile(labels, np.arange(1, count) / count)
        return np.unique(np.searchsorted(edges, labels, side="right"), return_inverse=True)[1]

    @property
    def strata_names(self) -> None:
        return None

    def fit_temperature(self, logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> float:
        return 1.0

    def calibration_errors(
        self, labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None
    ) -> dict[str, float]:
        return {}

    def suspects(self, labels: np.ndarray, scores: np.ndarray) -> Suspects:
        """Find numbers far from what is predicted: an outlier's quality is low (Zhou et al., 2023, by cleanlab)."""
        from cleanlab.regression.rank import get_label_quality_scores

        quality = get_label_quality_scores(labels, self.decide(scores), method="outre")
        errors = np.abs(labels - self.decide(scores))
        is_issue = errors > 3 * np.sqrt(np.square(errors).mean())
        doubted = np.flatnonzero(errors > 2 * np.sqrt(np.square(errors).mean()))
        return Suspects(doubted[np.argsort(quality[doubted], kind="stable")], quality, is_issue)

    def baseline(self) -> Any:
        from sklearn.linear_model import Ridge

        return Ridge()

    def baseline_scores(self, estimator: Any, features: Any) -> np.ndarray:
        scores: np.ndarray = np.asarray(estimator.predict(features))[:, None]
        return scores


def _averages(labels: np.ndarray, predicted: np.ndarray) -> Averages:
    """Compute the metrics of numbers; correlations are 0 where one side is constant."""
    from scipy.stats import pearsonr, spearmanr

    errors = predicted - labels
    varies = len(labels) > 1 and labels.std() > 0 and predicted.std() > 0
    values = {
        "mae": np.abs(errors).mean(),
        "rmse": np.sqrt(np.square(errors).mean()),
        "pearson": pearsonr(labels, predicted).statistic if varies else 0.0,
        "spearman": spearmanr(labels, predicted).statistic if varies else 0.0,
    }
    return Averages(len(labels), {name: float(value) for name, value in values.items()})
