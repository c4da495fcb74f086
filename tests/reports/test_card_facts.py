"""Intervals, by what metrics.json has of a run, hold what they promise."""

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import cohen_kappa_score, f1_score

from accel_clf.reports.card_facts import metric_intervals
from accel_clf.targets.metrics import Averages, LabelMetrics, Metrics


@pytest.mark.parametrize(("right", "rows"), [(0, 1), (1, 1), (0, 10), (7, 10), (50, 50), (4321, 5000)])
def test_wilson_is_scipys(right: int, rows: int) -> None:
    expected = binomtest(right, rows).proportion_ci(method="wilson")
    bounds = metric_intervals(Averages(rows, {"log_loss": 1.0, "subset_accuracy": right / rows}), has_order=False)
    assert bounds == {"subset_accuracy": pytest.approx((expected.low, expected.high), abs=1e-6)}


def measured(labels: np.ndarray, predicted: np.ndarray, *, sparse: bool = False) -> Metrics:
    classes = 4
    confusion = np.zeros((classes, classes), int)
    np.add.at(confusion, (labels, predicted), 1)
    entries = [[int(i), int(j), int(confusion[i, j])] for i, j in zip(*np.nonzero(confusion), strict=True)]
    values = {
        "macro_f1": f1_score(labels, predicted, average="macro"),
        "weighted_f1": f1_score(labels, predicted, average="weighted"),
        "quadratic_kappa": cohen_kappa_score(labels, predicted, weights="quadratic"),
        "mae": np.abs(labels - predicted).mean(),
    }
    per_class = {str(code): LabelMetrics(0, 0, 0, 0) for code in range(classes)}
    kept = {"entries": entries} if sparse else confusion.tolist()
    return Metrics(len(labels), {name: float(value) for name, value in values.items()}, per_class, kept)


def draw(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    labels = rng.choice(4, rows, p=(0.4, 0.3, 0.2, 0.1))
    return labels, np.where(rng.random(rows) < 0.7, labels, rng.integers(0, 4, rows))


def test_bootstrap_covers_the_truth() -> None:
    """In about 95 of 100 samples: of 200, at least 180."""
    rng = np.random.default_rng(0)
    truth = measured(*draw(rng, 200_000)).values  # of a sample so large that its own error is small
    counts = dict.fromkeys(truth, 0)
    for _ in range(200):
        for name, (low, high) in metric_intervals(measured(*draw(rng, 300)), has_order=True).items():
            counts[name] += low <= truth[name] <= high
    assert min(counts.values()) >= 180, counts


def test_forms_of_a_confusion_matrix() -> None:
    rows = draw(np.random.default_rng(1), 500)
    expected = metric_intervals(measured(*rows), has_order=False)
    assert metric_intervals(measured(*rows, sparse=True), has_order=False) == expected
    assert set(expected) == {"macro_f1", "weighted_f1"}, "no order, no distance"
    cut = measured(*rows, sparse=True)
    cut.confusion["entries"].pop()  # type: ignore[index]
    assert metric_intervals(cut, has_order=False) == {}, "not all rows are known"
