"""The metrics of classes that exclude each other, by scikit-learn."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from accel_clf.targets import named_metrics
from accel_clf.targets.calibration import expected_calibration_error
from accel_clf.targets.metrics import Averages, Confusion, LabelMetrics

MAX_DENSE = 100  # labels, of a confusion matrix that is written whole
MAX_ENTRIES = 20_000  # of a sparse one: the largest


def label_metrics(labels: np.ndarray, predicted: np.ndarray, names: Sequence[str]) -> dict[str, LabelMetrics]:
    """Compute the metrics of each class; labels and predictions are int [rows]."""
    from sklearn.metrics import precision_recall_fscore_support

    columns = precision_recall_fscore_support(labels, predicted, labels=np.arange(len(names)), zero_division=0.0)
    counts = np.bincount(predicted, minlength=len(names))
    return {
        name: LabelMetrics(float(precision), float(recall), float(f1), int(rows), int(count))
        for name, precision, recall, f1, rows, count in zip(names, *columns, counts, strict=True)
    }


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: int) -> Confusion:
    """Count the rows of each label and prediction.

    Args:
        labels, predicted: int [rows].
        classes: how many there are; above MAX_DENSE only what is not 0 is returned, the MAX_ENTRIES largest.
    """
    pairs, counts = np.unique(labels.astype(np.int64) * classes + predicted, return_counts=True)
    if classes <= MAX_DENSE:
        matrix = np.zeros(classes * classes, np.int64)
        matrix[pairs] = counts
        dense: list[list[int]] = matrix.reshape(classes, classes).tolist()
        return dense
    largest = np.argsort(-counts, kind="stable")
    entries = np.stack([pairs // classes, pairs % classes, counts], axis=1)[largest[:MAX_ENTRIES]]
    sparse: dict[str, Any] = {"entries": entries.tolist()}
    return sparse


def average_metrics(
    labels: np.ndarray,
    probabilities: np.ndarray,
    names: Sequence[str] = (),
    named: Sequence[str] = (),
    predicted: np.ndarray | None = None,
) -> Averages:
    """Compute the metrics in config.METRICS, and the named ones; F1 averages over classes among labels or predictions.

    Args:
        labels: int [rows], the right classes.
        probabilities: float [rows, classes].
        names: of the classes.
        named: those to compute beside the ones in config.METRICS, see `named_metrics`.
        predicted: int [rows]; None for the likeliest classes.
    """
    from sklearn.metrics import accuracy_score, f1_score, log_loss

    predicted = probabilities.argmax(axis=1) if predicted is None else predicted
    present = np.union1d(labels, predicted)
    values = {
        "accuracy": accuracy_score(labels, predicted),
        "macro_f1": f1_score(labels, predicted, labels=present, average="macro", zero_division=0.0),
        "weighted_f1": f1_score(labels, predicted, labels=present, average="weighted", zero_division=0.0),
        "log_loss": log_loss(labels, probabilities, labels=np.arange(probabilities.shape[1])),
        "ece": expected_calibration_error(probabilities, labels),
    }
    values |= {name: named_metrics.named_metric(name, labels, probabilities, predicted, names) for name in named}
    return Averages(len(labels), {name: float(value) for name, value in values.items()})
