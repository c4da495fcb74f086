"""95% intervals of metrics, by what metrics.json has of them."""

from math import sqrt

import numpy as np

from accel_clf.targets.metrics import Averages, Confusion, Metrics

Interval = tuple[float, float]

Z = 1.959964  # of 95%, on both sides
PROPORTIONS = ("accuracy", "subset_accuracy", "accuracy_within_one")  # of rows that are right
RESAMPLES = 1000


def wilson(share: float, count: int) -> Interval | None:
    """Return Wilson's interval (1927) of a probability; None where nothing was counted.

    Args:
        share: of those counted, that was observed.
        count: how many.
    """
    if not count:
        return None
    center, spread = share + Z * Z / (2 * count), Z * sqrt(share * (1 - share) / count + (Z / (2 * count)) ** 2)
    scale = 1 + Z * Z / count
    return max(0.0, (center - spread) / scale), min(1.0, (center + spread) / scale)


def metric_intervals(averages: Averages, is_ordinal: bool = False) -> dict[str, Interval]:
    """Compute the intervals of those metrics that have one: of rows drawn again from the same source.

    Shares of rows have Wilson's; averages over labels, of rows that have one label each, that of the bootstrap.

    Args:
        averages: of some rows.
        is_ordinal: whether labels have an order.

    Returns:
        Metric name -> lowest and highest value.
    """
    values = averages.values
    shares = {name: wilson(values[name], averages.rows) for name in PROPORTIONS if name in values}
    intervals = {name: interval for name, interval in shares.items() if interval}
    if isinstance(averages, Metrics) and averages.confusion is not None:
        drawn = _bootstrap(averages.confusion, averages.rows, len(averages.per_class), is_ordinal)
        for name, samples in drawn.items():
            if name in values:
                shifted = samples - samples.mean() + values[name]  # few rows of a label bias the samples
                low, high = np.clip(np.quantile(shifted, (0.025, 0.975)), 0.0, None)
                intervals[name] = (float(low), float(high) if name == "mae" else min(1.0, float(high)))
    return intervals


def _bootstrap(confusion: Confusion, rows: int, classes: int, is_ordinal: bool) -> dict[str, np.ndarray]:
    """Draw the rows again, RESAMPLES times: metric name -> its values; empty where not all rows are known."""
    if isinstance(confusion, dict):
        labels, predicted, counts = np.array(confusion["entries"], np.int64).reshape(-1, 3).T
    else:
        matrix = np.array(confusion, np.int64)
        labels, predicted = np.nonzero(matrix)
        counts = matrix[labels, predicted]
    if not rows or counts.sum() != rows:
        return {}
    drawn = np.random.default_rng(0).multinomial(rows, counts / rows, RESAMPLES).astype(np.float64)
    of_label, of_prediction = (np.eye(classes)[codes] for codes in (labels, predicted))
    has, gets = drawn @ of_label, drawn @ of_prediction
    right = drawn @ (of_label * (labels == predicted)[:, None])
    f1 = 2 * right / np.maximum(has + gets, 1)
    samples = {
        "macro_f1": f1.sum(axis=1) / np.count_nonzero(has + gets, axis=1),
        "weighted_f1": (f1 * has).sum(axis=1) / rows,
    }
    if is_ordinal:
        distance = np.abs(labels - predicted)
        samples["mae"] = drawn @ distance / rows
        order = np.arange(classes)
        by_chance = np.einsum("bi,bj,ij->b", has, gets, (order[:, None] - order) ** 2.0) / rows
        samples["quadratic_kappa"] = 1 - drawn @ distance**2.0 / np.where(by_chance, by_chance, np.inf)
    return samples
