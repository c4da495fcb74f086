"""Intervals: as scipy's, as drawing row by row gives, and with what is estimated in them as often as they say."""

from functools import partial

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import cohen_kappa_score, f1_score

from accel_clf.reports import intervals
from accel_clf.reports.intervals import Interval


@pytest.mark.parametrize(("right", "rows"), [(0, 5), (3, 7), (7, 7), (950, 1000)])
def test_wilson_is_scipys(right: int, rows: int) -> None:
    expected = binomtest(right, rows).proportion_ci(method="wilson")
    assert intervals.wilson(right / rows, rows) == pytest.approx((expected.low, expected.high))


def labels_and_predictions(rows: int = 400, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(1)
    labels = generator.integers(classes, size=rows)
    return labels, np.where(generator.random(rows) < 0.7, labels, generator.integers(classes, size=rows))


def row_by_row(metric: object, *columns: np.ndarray) -> tuple[float, float]:
    """The bootstrap as it is defined: rows drawn anew, the metric of each draw."""
    generator = np.random.default_rng(2)
    drawn = (generator.integers(len(columns[0]), size=len(columns[0])) for _ in range(1000))
    values = [metric(*(column[rows] for column in columns)) for rows in drawn]  # type: ignore[operator]
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def entries_of(labels: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    pairs, counts = np.unique(np.stack([labels, predicted]), axis=1, return_counts=True)
    return np.stack([*pairs, counts], axis=1)


def agrees(interval: Interval, expected: tuple[float, float]) -> bool:
    return np.allclose(interval, expected, atol=0.01)


def test_bootstrap_of_counts_is_that_of_rows() -> None:
    """Draws of cells of a confusion matrix are draws of rows."""
    labels, predicted = labels_and_predictions()
    of_classes = intervals.f1_of_confusion(entries_of(labels, predicted), 4)
    for average in ("macro", "weighted"):
        expected = row_by_row(lambda *rows, average=average: f1_score(*rows, average=average), labels, predicted)
        assert agrees(of_classes[f"{average}_f1"], expected)
    kappa = row_by_row(lambda *rows: cohen_kappa_score(*rows, weights="quadratic"), labels, predicted)
    assert agrees(intervals.kappa_of_confusion(entries_of(labels, predicted), 4), kappa)
    is_label, is_predicted = labels == 2, predicted == 2
    both = int((is_label & is_predicted).sum())
    of_label = intervals.f1_of_counts(both, int(is_predicted.sum()), int(is_label.sum()), len(labels))
    assert agrees(of_label, row_by_row(f1_score, is_label, is_predicted))


@pytest.mark.parametrize(("rows", "names"), [(300, 2), (300, 5), (60, 12)])
def test_bootstrap_of_several_labels(rows: int, names: int) -> None:
    """Of few combinations of labels, which are drawn by their counts, and of almost as many as there are rows."""
    generator = np.random.default_rng(3)
    labels = (generator.random((rows, names)) < 0.3).astype(np.int8)
    decided = np.where(generator.random(labels.shape) < 0.85, labels, 1 - labels)
    decided[: rows // 10] = labels[: rows // 10] = 0  # nothing, rightly
    bounds = intervals.f1_of_label_sets(labels, decided)
    for average, interval in bounds.items():
        metric = partial(f1_score, average=average.removesuffix("_f1"), zero_division=1)
        assert np.allclose(interval, row_by_row(metric, labels, decided), atol=0.015), average
    assert set(bounds) == {"micro_f1", "macro_f1", "samples_f1"}


def test_labels_of_no_row_are_left_out() -> None:
    labels = np.array([[1, 0, 0], [0, 1, 0]] * 50, np.int8)
    bounds = intervals.f1_of_label_sets(labels, labels)
    assert bounds == dict.fromkeys(("micro_f1", "macro_f1", "samples_f1"), Interval(1.0, 1.0))


def test_bootstrap_of_means() -> None:
    generator = np.random.default_rng(3)
    errors = generator.exponential(size=300)
    assert np.allclose(intervals.of_mean(errors), row_by_row(np.mean, errors), atol=0.02)
    rmse = row_by_row(lambda rows: np.sqrt(np.square(rows).mean()), errors)
    assert np.allclose(intervals.of_mean(np.square(errors), np.sqrt), rmse, atol=0.03)
    few = np.round(errors)  # of few kinds, which are drawn by their counts
    assert np.allclose(intervals.of_mean(few), row_by_row(np.mean, few), atol=0.02)


def test_f1_is_in_its_interval() -> None:
    """In 95 of 100 samples, as far as 300 of them can say."""
    generator = np.random.default_rng(4)
    shares = np.array([0.25, 0.05, 0.08, 0.62])  # both, predicted only, label only, neither
    true = 2 * shares[0] / (2 * shares[0] + shares[1] + shares[2])
    hits = 0
    for both, only_predicted, only_label, _ in generator.multinomial(200, shares, size=300):
        low, high = intervals.f1_of_counts(both, both + only_predicted, both + only_label, 200)
        hits += low <= true <= high
    assert 0.91 <= hits / 300 <= 0.99
