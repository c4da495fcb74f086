"""What scores are worth against labels."""

from dataclasses import dataclass, replace
from math import inf, isnan

import numpy as np

from accel_clf.config.schema import EvaluationConfig
from accel_clf.core.errors import ConfigError
from accel_clf.data.dataset import Dataset
from accel_clf.targets.metrics import LOWER_IS_BETTER, Metrics
from accel_clf.targets.modules import module_metrics


@dataclass(frozen=True)
class EvalResult:
    """The result of an evaluation.

    Attributes:
        metrics: all of them.
        score: the metric that selects the best model; larger is better.
    """

    metrics: Metrics
    score: float


def evaluate(
    scores: np.ndarray, rows: Dataset, settings: EvaluationConfig, decided: np.ndarray | None = None
) -> EvalResult:
    """Compute the metrics of predictions.

    Args:
        scores: float [rows, scores].
        rows: labelled.
        settings: name extra metrics, and the one that selects the best model.
        decided: the labels that are predicted; None for those that the target decides.

    Raises:
        ConfigError: that metric is not among the metrics.
    """
    slices, slice_names = (rows.slices.codes, rows.slices.names) if rows.slices else (None, ())
    decided = rows.target.decide(scores) if decided is None else decided
    metrics = rows.target.metrics(rows.labels, scores, slices, slice_names, settings.named_metrics, decided)
    of_modules = module_metrics(settings.modules, rows.labels, decided, scores)
    metrics = replace(metrics, values=metrics.values | of_modules)
    metric = rows.target.default_metric if settings.metric == "auto" else settings.metric
    if metric not in metrics.values:  # a module of `evaluate` names its values as it likes
        raise ConfigError(
            f"evaluation.metric is {metric}, and no metric answered with that name",
            "one of " + ", ".join(metrics.values),
        )
    value = metrics[metric]
    score = -value if metric in LOWER_IS_BETTER else value
    return EvalResult(metrics, -inf if isnan(score) else score)
