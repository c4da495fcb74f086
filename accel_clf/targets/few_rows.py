"""What is said where there are few rows for each label."""

import numpy as np

from accel_clf.config.schema import TrainingConfig
from accel_clf.targets.base import Target

FEW = 64  # rows a label


def few_rows_hint(target: Target, labels: np.ndarray, training: TrainingConfig) -> str | None:
    """Say what to expect of few rows a label, and what to set; None where there are more.

    Args:
        target: what is predicted.
        labels: of the training rows.
        training: the settings; which method they have.
    """
    each = _rows_per_label(target, labels)
    if each >= FEW:
        return None
    per_label = "training rows in all" if target.strata_names is None else "training rows a label"
    expectation = "the result depends on which rows they are, by several points, and a few held-out rows measure little"
    if training.method == "lp_ft":
        return f"{each:.0f} {per_label}: {expectation}"
    epochs = f"{training.epochs} epoch{'s' if training.epochs > 1 else ''}"
    return (
        f"{each:.0f} {per_label}: {expectation}; {epochs} may teach a "
        "new head next to nothing. --training.method lp_ft is made for few rows, best with an encoder of sentences"
    )


def _rows_per_label(target: Target, labels: np.ndarray) -> float:
    """Return the mean number of rows that have a label; all of them where these are numbers."""
    if target.strata_names is None:
        return float(len(labels))
    return float(labels.sum() if labels.ndim == 2 else len(labels)) / len(target.names)
