"""What one answer for all rows achieves: a model that is no better has learned nothing that counts."""

from typing import NamedTuple

import numpy as np

from accel_clf.targets.base import Target


class Constant(NamedTuple):
    """The one answer that is best for some rows.

    Attributes:
        answer: for people.
        value: of a metric, with this answer for every row.
    """

    answer: str
    value: float


def constant_answers(target: Target, labels: np.ndarray) -> dict[str, Constant]:
    """Find the best constant answer by each metric that has one: metric name -> answer.

    Args:
        target: what is predicted.
        labels: of at least one row, as the target encodes them.
    """
    if target.kind == "regression":
        median, mean = float(np.median(labels)), float(labels.mean())
        return {
            "mae": Constant(f"{median:.4g}", float(np.abs(labels - median).mean())),
            "rmse": Constant(f"{mean:.4g}", float(labels.std())),
        }
    kinds, counts = np.unique(labels, axis=0, return_counts=True)
    most = counts.argmax()
    most_frequent = Constant(target.to_text(kinds[most]) or "no label", float(counts[most] / len(labels)))
    if target.kind == "multi_label":
        return {"subset_accuracy": most_frequent}
    answers = {"accuracy": most_frequent}
    if target.kind == "ordinal":
        median_label = np.sort(labels)[(len(labels) - 1) // 2]
        distance = float(np.abs(labels - median_label).mean())
        answers |= {
            "quadratic_kappa": Constant("the same", 0.0),
            "mae": Constant(target.to_text(median_label), distance),
        }
    return answers
