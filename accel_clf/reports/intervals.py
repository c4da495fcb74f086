"""95% intervals: Wilson's of shares; of other metrics by the bootstrap, which draws rows anew from a seed."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from accel_clf.targets.base import Target

SHARES = ("accuracy", "subset_accuracy", "accuracy_within_one")  # metrics that are shares of rows that are right
DRAWS, SEED = 1000, 0
MAX_DRAWN = 20_000_000  # rows of all draws together; with many rows there are fewer draws
LEAST_DRAWS = 200
Z = 1.959963984540054


class Interval(NamedTuple):
    """The bounds of an interval that has what is estimated in 95 of 100 samples."""

    low: float
    high: float


def wilson(share: float, rows: int) -> Interval:
    """Compute Wilson's interval of a share of rows (Wilson, 1927)."""
    if not rows:
        return Interval(0.0, 1.0)
    centre = (share + Z**2 / (2 * rows)) / (1 + Z**2 / rows)
    half = Z * np.sqrt(share * (1 - share) / rows + Z**2 / (4 * rows**2)) / (1 + Z**2 / rows)
    return Interval(max(0.0, float(centre - half)), min(1.0, float(centre + half)))


def f1_of_counts(both: int, predicted: int, rows: int, total: int) -> Interval:
    """Estimate the interval of a label's F1.

    Args:
        both: rows that have it and that it is predicted for.
        predicted, rows: those that it is predicted for; that have it.
        total: all rows.
    """
    counts = np.array([both, predicted - both, rows - both, max(0, total - predicted - rows + both)])
    drawn = _redraw(counts)
    return _bounds(2 * drawn[:, 0] / np.maximum(1, 2 * drawn[:, 0] + drawn[:, 1] + drawn[:, 2]))


def f1_of_confusion(entries: np.ndarray, classes: int) -> dict[str, Interval]:
    """Estimate the intervals of the averages of F1 over classes.

    Args:
        entries: int [cells, 3]: label, prediction, rows.
        classes: how many there are.
    """
    from scipy.sparse import csr_array

    drawn = _redraw(entries[:, 2])
    cells = np.arange(len(entries))

    def sums(codes: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        by_class = csr_array((np.ones(chosen.sum()), (codes[chosen], cells[chosen])), (classes, len(entries)))
        return np.asarray(by_class @ drawn.T)

    everything = np.ones(len(entries), bool)
    labels, predicted = sums(entries[:, 0], everything), sums(entries[:, 1], everything)
    both = sums(entries[:, 0], entries[:, 0] == entries[:, 1])
    f1 = 2 * both / np.maximum(1, labels + predicted)
    present = (labels + predicted) > 0
    return {
        "macro_f1": _bounds((f1 * present).sum(axis=0) / present.sum(axis=0)),
        "weighted_f1": _bounds((f1 * labels).sum(axis=0) / labels.sum(axis=0)),
    }


def kappa_of_confusion(entries: np.ndarray, classes: int) -> Interval:
    """Estimate the interval of Cohen's kappa with quadratic weights, see `f1_of_confusion`."""
    drawn = _redraw(entries[:, 2])
    weights = np.square(np.subtract.outer(np.arange(classes), np.arange(classes)))
    labels, predicted = (drawn @ np.eye(classes)[entries[:, side]] for side in (0, 1))
    observed = drawn @ weights[entries[:, 0], entries[:, 1]]
    expected = ((labels @ weights) * predicted).sum(axis=1) / entries[:, 2].sum()
    return _bounds(np.where(expected > 0, 1 - observed / np.where(expected > 0, expected, 1), 0.0))


def f1_of_label_sets(labels: np.ndarray, decided: np.ndarray) -> dict[str, Interval]:
    """Estimate the intervals of the averages of F1 where a text may have several labels: 0 and 1 [rows, labels]."""
    from scipy.sparse import csr_array

    packed = np.packbits(np.concatenate([labels, decided], axis=1), axis=1)
    _, first, counts = np.unique(packed, axis=0, return_index=True, return_counts=True)
    are_few = len(counts) <= min(len(labels) // 2, MAX_DRAWN // 2 // DRAWS)
    drawn = _redraw(counts) if are_few else _redraw_rows(counts)
    labels, decided = labels[first], decided[first]
    both, either = labels & decided, labels + decided
    right, counted = (np.asarray(csr_array(of).astype(np.float32).T @ drawn.T) for of in (both, either))
    f1, present = 2 * right / np.maximum(1, counted), counted > 0
    of_rows = np.where(either.any(axis=1), 2 * both.sum(axis=1) / np.maximum(1, either.sum(axis=1)), 1.0)
    return {
        "micro_f1": _bounds(2 * right.sum(axis=0) / np.maximum(1, counted.sum(axis=0))),
        "macro_f1": _bounds((f1 * present).sum(axis=0) / np.maximum(1, present.sum(axis=0))),
        "samples_f1": _bounds(drawn @ of_rows / counts.sum()),
    }


def of_mean(values: np.ndarray, of: Callable[[np.ndarray], np.ndarray] = lambda means: means) -> Interval:
    """Estimate the interval of a mean, or of what is computed from it.

    Args:
        values: float [rows].
        of: computes it from the means of all draws.
    """
    kinds, counts = np.unique(values, return_counts=True)
    if len(kinds) <= len(values) // 2:
        return _bounds(of(_redraw(counts) @ kinds / len(values)))
    generator = np.random.default_rng(SEED)
    means = [values[generator.integers(len(values), size=len(values))].mean() for _ in range(_draws(len(values)))]
    return _bounds(of(np.array(means)))


def _redraw(counts: np.ndarray) -> np.ndarray:
    """Draw as many rows as there are from kinds of rows: int [draws, kinds]."""
    total = int(counts.sum())
    return np.random.default_rng(SEED).multinomial(total, counts / max(1, total), size=DRAWS)


def _redraw_rows(counts: np.ndarray) -> np.ndarray:
    """Draw as `_redraw` does, faster where there are many kinds; of many rows less often."""
    generator, rows = np.random.default_rng(SEED), np.repeat(np.arange(len(counts)), counts)
    drawn = np.empty((_draws(len(rows)), len(counts)), np.float32)
    for draw in drawn:
        draw[:] = np.bincount(rows[generator.integers(len(rows), size=len(rows))], minlength=len(counts))
    return drawn


def _draws(rows: int) -> int:
    """Return how often as many rows are drawn where each of them is drawn by itself."""
    return int(np.clip(MAX_DRAWN // rows, LEAST_DRAWS, DRAWS))


def _bounds(values: np.ndarray) -> Interval:
    low, high = np.quantile(values, [0.025, 0.975])
    return Interval(float(low), float(high))


def metric_intervals(
    values: Mapping[str, Any],
    rows: int,
    target: Target | None = None,
    labels: np.ndarray | None = None,
    decided: np.ndarray | None = None,
) -> dict[str, Interval]:
    """Estimate the intervals of the averages over rows, as far as they have one.

    Args:
        values: of the metrics, by name; others may be among them.
        rows: how many there are.
        target: what is predicted.
        labels, decided: the right answers for these rows, and the model's, as the target encodes them; None where only
            the metrics are known, of which shares of rows have an interval then.
    """
    bounds = {name: wilson(values[name], rows) for name in SHARES if name in values}
    if target and labels is not None and decided is not None:
        bounds |= _of_answers(target, labels, decided)
    return {name: interval for name, interval in bounds.items() if name in values}


def _of_answers(target: Target, labels: np.ndarray, decided: np.ndarray) -> dict[str, Interval]:
    if target.kind == "multi_label":
        return f1_of_label_sets(labels, decided)
    if target.kind == "regression":
        errors = np.abs(labels - decided)
        return {"mae": of_mean(errors), "rmse": of_mean(np.square(errors), np.sqrt)}
    classes = len(target.names)
    cells, counts = np.unique(labels.astype(np.int64) * classes + decided, return_counts=True)
    entries = np.stack([cells // classes, cells % classes, counts], axis=1)
    bounds = f1_of_confusion(entries, classes)
    if target.kind == "ordinal":
        bounds["quadratic_kappa"] = kappa_of_confusion(entries, classes)
        bounds["mae"] = of_mean(np.abs(labels - decided).astype(np.float64))
    return bounds
