"""Classification metrics that a run may ask for by name, beside those that it always has."""

from collections.abc import Callable, Sequence

import numpy as np

from accel_clf.config.metric_names import LABEL_METRICS

Metric = Callable[[np.ndarray, np.ndarray, np.ndarray], float]  # of labels, scores and predictions
Area = Callable[[np.ndarray, np.ndarray], float]  # of labels and scores


def named_metric(
    name: str, labels: np.ndarray, scores: np.ndarray, predicted: np.ndarray, names: Sequence[str]
) -> float:
    """Compute one metric.

    Args:
        name: one of config.schema.NAMED_METRICS, or one of LABEL_METRICS with a label, "f1:LABEL".
        labels: int [rows], the right classes.
        scores: probabilities, float [rows, classes].
        predicted: int [rows].
        names: of the classes.

    Returns:
        NaN where it is not defined, as the area under a curve is where all rows have one label.
    """
    metric, _, label = name.partition(":")
    if metric in LABEL_METRICS:
        return _of_label(metric, names.index(label), labels, predicted)
    return _FUNCTIONS[metric](labels, scores, predicted)


def _of_label(metric: str, code: int, labels: np.ndarray, predicted: np.ndarray) -> float:
    from sklearn.metrics import precision_recall_fscore_support

    precision, recall, f1, _ = precision_recall_fscore_support(
        labels == code, predicted == code, average="binary", zero_division=0.0
    )
    return float({"precision": precision, "recall": recall, "f1": f1}[metric])


def _mean_over_labels(area: Area, labels: np.ndarray, scores: np.ndarray) -> float:
    """Average one label's area over the labels that some rows have and others have not: one against the rest."""
    codes = [1] if scores.shape[1] == 2 else range(scores.shape[1])
    is_label = [(labels == code, scores[:, code]) for code in codes]
    areas = [area(positive, of_label) for positive, of_label in is_label if 0 < positive.sum() < len(labels)]
    return float(np.mean(areas)) if areas else float("nan")


def _roc_auc(labels: np.ndarray, scores: np.ndarray, predicted: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    return _mean_over_labels(roc_auc_score, labels, scores)


def _average_precision(labels: np.ndarray, scores: np.ndarray, predicted: np.ndarray) -> float:
    from sklearn.metrics import average_precision_score

    return _mean_over_labels(average_precision_score, labels, scores)


def _mcc(labels: np.ndarray, scores: np.ndarray, predicted: np.ndarray) -> float:
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef(labels, predicted))


def _balanced_accuracy(labels: np.ndarray, scores: np.ndarray, predicted: np.ndarray) -> float:
    """Average the recall of the labels that rows have."""
    from sklearn.metrics import recall_score

    present = np.unique(labels)
    return float(recall_score(labels, predicted, labels=present, average="macro", zero_division=0.0))


def brier(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Average the squared distance from the right answer (Brier, 1950), halved for two classes, as is the custom.

    Args:
        labels: int [rows].
        scores: float [rows, classes].
        weights: float [rows], what each row counts; all the same by default.
    """
    right = np.zeros(scores.shape)
    right[np.arange(len(labels)), labels] = 1.0
    distance = float(np.average(np.square(scores - right).sum(axis=1), weights=weights))
    return distance / 2 if scores.shape[1] == 2 else distance


_FUNCTIONS: dict[str, Metric] = {
    "roc_auc": _roc_auc,
    "average_precision": _average_precision,
    "mcc": _mcc,
    "balanced_accuracy": _balanced_accuracy,
    "brier": lambda labels, scores, predicted: brier(labels, scores),
}
