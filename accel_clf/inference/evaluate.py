"""What a model's answers are worth."""

from dataclasses import dataclass
from math import inf, isnan
from typing import Any

import numpy as np

from accel_clf.config.schema import EvaluationConfig
from accel_clf.core.errors import ConfigError
from accel_clf.data.dataset import Dataset
from accel_clf.targets.metrics import LOWER_IS_BETTER, classification_metrics, extra_metrics


@dataclass(frozen=True)
class EvalResult:
    """What an evaluation found.

    Attributes:
        metrics: by name.
        score: the metric that the best model is chosen by, larger is better.
    """

    metrics: dict[str, Any]
    score: float


def evaluate(sure: np.ndarray, rows: Dataset, settings: EvaluationConfig) -> EvalResult:
    """The metrics of probabilities [rows, classes] against the rows' labels.

    Raises:
        ConfigError: `settings.metric` is not among them.
    """
    slices = (rows.slices.codes, rows.slices.names) if rows.slices else (None, ())
    metrics = classification_metrics(rows.labels.codes, sure, rows.label_names, *slices)
    metrics |= extra_metrics(settings.metrics, rows.labels.codes, sure.argmax(axis=1))
    if settings.metric not in metrics:  # a module of `evaluate` names its numbers as it likes
        raise ConfigError(
            f"evaluation.metric is {settings.metric}, and no metric answered with that name",
            "one of " + ", ".join(name for name, value in metrics.items() if isinstance(value, float)),
        )
    value = metrics[settings.metric]
    score = -value if settings.metric in LOWER_IS_BETTER else value
    return EvalResult(metrics, -inf if isnan(score) else score)
