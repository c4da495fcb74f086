"""Metrics of classification, by scikit-learn; no network, no files."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from accel_clf.core.errors import ConfigError

LOWER_IS_BETTER = ("log_loss",)


def classification_metrics(
    labels: np.ndarray,
    probabilities: np.ndarray,
    names: Sequence[str],
    slices: np.ndarray | None = None,
    slice_names: Sequence[str] = (),
) -> dict[str, Any]:
    """All built-in metrics of some rows.

    Args:
        labels: int [rows], the right classes.
        probabilities: float [rows, classes].
        names: of the classes.
        slices: int [rows], which slice each row belongs to; adds "slices", with each one's rows and averages.
        slice_names: of the slices.

    Returns:
        "rows", the averages in config.METRICS, "per_class" (precision, recall, f1, rows by name) and "confusion" (int
        [classes][classes], a line a right class).
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    every_class = np.arange(len(names))
    predicted = probabilities.argmax(axis=1)
    columns = precision_recall_fscore_support(labels, predicted, labels=every_class, zero_division=0.0)
    per_class = {
        name: {"precision": float(p), "recall": float(r), "f1": float(f), "rows": int(n)}
        for name, p, r, f, n in zip(names, *columns, strict=True)
    }
    results: dict[str, Any] = average_metrics(labels, probabilities)
    results["per_class"] = per_class
    results["confusion"] = confusion_matrix(labels, predicted, labels=every_class).tolist()
    if slices is not None:
        results["slices"] = {
            slice_names[code]: average_metrics(labels[slices == code], probabilities[slices == code])
            for code in np.unique(slices)
        }
    return results


def average_metrics(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, Any]:
    """Count "rows" and compute the metrics in config.METRICS; F1 is over classes among labels or predictions."""
    from sklearn.metrics import accuracy_score, f1_score, log_loss

    predicted = probabilities.argmax(axis=1)
    present = np.union1d(labels, predicted)
    return {
        "rows": len(labels),
        "accuracy": float(accuracy_score(labels, predicted)),
        "macro_f1": float(f1_score(labels, predicted, labels=present, average="macro", zero_division=0.0)),
        "weighted_f1": float(f1_score(labels, predicted, labels=present, average="weighted", zero_division=0.0)),
        "log_loss": float(log_loss(labels, probabilities, labels=np.arange(probabilities.shape[1]))),
    }


def extra_metrics(names: Sequence[str], labels: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """Metrics of the `evaluate` library, by name or path.

    Raises:
        ConfigError: one cannot be loaded, or answers with no number of its name.
    """
    if not names:
        return {}
    import evaluate  # takes seconds: it imports all of transformers' pipelines

    results: dict[str, float] = {}
    for name in names:
        try:
            answer = evaluate.load(name, keep_in_memory=True).compute(predictions=predicted, references=labels)
        except (FileNotFoundError, ConnectionError, ImportError, ValueError, OSError) as error:
            raise ConfigError(
                f"evaluation.metrics: {name} cannot be used ({str(error).strip().splitlines()[0]})",
                "a metric of the `evaluate` library that compares labels, by name or path",
                "its name needs the Hub; the path of a local copy does not",
            ) from None
        results |= {key: float(value) for key, value in answer.items() if np.ndim(value) == 0}
    return results
