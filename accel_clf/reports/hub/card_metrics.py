"""What metrics are called: by the Hub, and by people."""

import re

from accel_clf.targets.base import Target

# Our name of a metric -> the Hub's, and how it is written in a sentence.
_METRICS = {
    "accuracy": ("accuracy", "accuracy"),
    "balanced_accuracy": ("balanced_accuracy", "balanced accuracy"),
    "subset_accuracy": ("accuracy", "subset accuracy"),
    "accuracy_within_one": ("accuracy_within_one", "accuracy within one label"),
    "macro_f1": ("f1", "macro F1"),
    "weighted_f1": ("f1", "weighted F1"),
    "micro_f1": ("f1", "micro F1"),
    "samples_f1": ("f1", "F1 of rows"),
    "mean_average_precision": ("average_precision", "mean average precision"),
    "average_precision": ("average_precision", "average precision"),
    "roc_auc": ("roc_auc", "ROC AUC"),
    "mcc": ("matthews_correlation", "Matthews correlation"),
    "brier": ("brier_score", "Brier score"),
    "quadratic_kappa": ("quadratic_kappa", "quadratic kappa"),
    "mae": ("mae", "mean absolute error"),
    "rmse": ("rmse", "root mean squared error"),
    "pearson": ("pearsonr", "Pearson correlation"),
    "spearman": ("spearmanr", "Spearman correlation"),
    "log_loss": ("log_loss", "log loss"),
    "ece": ("ece", "expected calibration error"),
}
# An ordinal target's errors count labels, whatever numbers their names may be; its answer is the median, while it is
# the likeliest label's score that is compared with how often that is right.
_OF_ORDERS = {
    "mae": ("mean_distance_in_labels", "mean distance in labels"),
    "ece": ("ece", "expected calibration error of the likeliest label"),
}


def _names(metric: str, target: Target) -> tuple[str, str] | None:
    return (_OF_ORDERS.get(metric) if target.kind == "ordinal" else None) or _METRICS.get(metric)


def hub_metric(metric: str, target: Target) -> str:
    """Return what the Hub calls a metric of a target's answers."""
    names = _names(metric, target)
    return names[0] if names else re.sub(r"\W+", "_", metric)


def metric_words(metric: str, target: Target) -> str:
    """Write a metric's name for people, as in a sentence."""
    names = _names(metric, target)
    return names[1] if names else metric


def metric_title(metric: str, target: Target) -> str:
    """Write a metric's name for people, as in a table."""
    names = _names(metric, target)
    return names[1][0].upper() + names[1][1:] if names else metric
