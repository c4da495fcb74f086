"""Intervals, by what metrics.json has of a run, hold what they promise."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import cohen_kappa_score, f1_score

from accel_clf.reports.hub.card_intervals import Decisions, metric_intervals
from accel_clf.targets.metrics import Averages, LabelMetrics, Metrics
from accel_clf.targets.multi_label import MultiLabel
from accel_clf.targets.ordinal import Ordinal
from accel_clf.targets.regression import Regression
from tests.conftest import write_csv

ORDER = Ordinal(("a", "b", "c", "d"))


@pytest.mark.parametrize(("right", "rows"), [(0, 1), (1, 1), (0, 10), (7, 10), (50, 50), (4321, 5000)])
def test_wilson_is_scipys(right: int, rows: int) -> None:
    expected = binomtest(right, rows).proportion_ci(method="wilson")
    bounds = metric_intervals(Averages(rows, {"log_loss": 1.0, "subset_accuracy": right / rows}), ORDER)
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
        for name, (low, high) in metric_intervals(measured(*draw(rng, 300)), ORDER).items():
            counts[name] += low <= truth[name] <= high
    assert min(counts.values()) >= 180, counts


def test_forms_of_a_confusion_matrix() -> None:
    rows = draw(np.random.default_rng(1), 500)
    expected = metric_intervals(measured(*rows), ORDER)
    assert metric_intervals(measured(*rows, sparse=True), ORDER) == expected
    assert set(expected) == {"macro_f1", "weighted_f1", "quadratic_kappa", "mae"}
    cut = measured(*rows, sparse=True)
    cut.confusion["entries"].pop()  # type: ignore[index]
    assert metric_intervals(cut, ORDER) == {}, "not all rows are known"


def test_several_labels_and_numbers_by_predictions(tmp_path: Path) -> None:
    """Of which metrics.json has no counts: the interval holds what was measured, of all rows and of a slice."""
    several, rng = MultiLabel(("a", "b")), np.random.default_rng(0)
    cells = [
        (str(number), "x" if number % 2 else "y", "a|b", rng.choice(["a", "a|b", ""]), "0.5", "0.5")
        for number in range(200)
    ]
    path = write_csv(tmp_path / "several.csv", cells, ("row", "slice", "label", "predicted", "score:a", "score:b"))
    decisions = Decisions.read(path, several)
    assert decisions is not None
    for part in (decisions, decisions.of_slice("x")):
        assert part is not None
        both, either = (part.labels & part.decided).sum(), part.labels.sum() + part.decided.sum()
        averages = Averages(len(part.labels), {"micro_f1": float(2 * both / either), "log_loss": 1.0})
        [(name, (low, high))] = metric_intervals(averages, several, part).items()
        assert name == "micro_f1"
        assert low < averages["micro_f1"] < high < low + 0.2
    numbers = [(str(number), str(number), str(number + 1 + number % 3), "1") for number in range(300)]
    table = write_csv(tmp_path / "n.csv", numbers, ("row", "label", "predicted", "logit:n"))
    errors = Decisions.read(table, Regression(("n",)))
    assert errors is not None
    assert errors.of_slice("x") is None
    averages = Averages(300, {"mae": 2.0, "rmse": (14 / 3) ** 0.5, "pearson": 1.0})
    bounds = metric_intervals(averages, Regression(("n",)), errors)
    assert {name: low < averages[name] < high for name, (low, high) in bounds.items()} == {"mae": True, "rmse": True}
    assert Decisions.read(tmp_path / "none.csv", several) is None
    assert Decisions.read(path, ORDER) is None, "metrics.json is enough"
