"""What scores are worth: reliability, accuracy against coverage, thresholds; of numbers, residuals."""

from typing import Any

import numpy as np

from accel_clf.reports.charts import SERIES, SOFT, Chart, draw
from accel_clf.reports.html.evidence import Evidence, Predictions
from accel_clf.reports.html.figures import figure, number
from accel_clf.reports.page import Section, fragment
from accel_clf.run_folder.examples import confidence, is_wrong
from accel_clf.targets.base import Target
from accel_clf.targets.calibration import BINS
from accel_clf.targets.multi_label import MultiLabel

MAX_POINTS = 200  # of a curve
COVERAGES = (1.0, 0.99, 0.95, 0.9, 0.8, 0.7, 0.5)
GRID = np.arange(101) / 100  # of thresholds
MOST_LABELS = 200  # that the slider has: the most frequent
MOST_DOTS = 500  # of a cloud of numbers


def reliability_section(evidence: Evidence, predictions: Predictions) -> Section:
    """Draw how often answers are right against their scores, before and after the temperature."""
    assert evidence.target, "there are predictions"
    weights = evidence.target.calibration_weights(predictions.labels, evidence.config.target.loss)
    kinds = {"before the temperature" if predictions.after is not None else "as trained": predictions.before}
    if predictions.after is not None:
        kinds["after the temperature"] = predictions.after
    bins = {name: reliability(evidence.target, predictions.labels, scores, weights) for name, scores in kinds.items()}
    calibration = evidence.metrics.get("calibration")
    errors = [] if calibration is None else [
        (
            name.replace("_", " "),
            *(figure(["calibration", name, when], calibration[name][when]) for when in ("before", "after")),
        )
        for name in ("expected_calibration_error", "brier")
        if name in calibration
    ]  # fmt: skip
    return Section(
        "reliability",
        "Reliability",
        fragment(
            "reliability.html",
            chart=_reliability_chart(bins),
            ece=figure([*evidence.path, "ece"], evidence.results.get("ece")),
            temperature=calibration and figure(["calibration", "temperature"], calibration["temperature"]),
            errors=errors,
            several=isinstance(evidence.target, MultiLabel),
            is_weighted=weights is not None,
            fitted_to="out-of-fold" if evidence.is_cross_validation else "validation",
        ),
    )


def reliability(
    target: Target, labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None
) -> list[tuple[float, float, float]]:
    """Compute the mean score, the share of right answers and the number of rows of each bin of scores that has any.

    Of one label a text the score is that of the likeliest; of several, all scores count.
    """
    if isinstance(target, MultiLabel):
        values, right = scores.ravel(), labels.ravel() == 1
        weights = None if weights is None else np.repeat(weights, scores.shape[1])
    else:
        values, right = scores.max(axis=1), scores.argmax(axis=1) == labels
    weights = np.ones(len(values)) if weights is None else weights
    bins = np.minimum((values * BINS).astype(int), BINS - 1)
    rows, expected, rights = (np.bincount(bins, of * weights, BINS) for of in (np.ones(len(bins)), values, right))
    counts = np.bincount(bins, minlength=BINS)
    return [
        (float(expected[of] / rows[of]), float(rights[of] / rows[of]), int(counts[of])) for of in np.flatnonzero(counts)
    ]


def _reliability_chart(kinds: dict[str, list[tuple[float, float, float]]]) -> Chart:
    def paint(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color=SOFT, linewidth=1, linestyle=":", label="as sure as right")
        for index, (name, bins) in enumerate(kinds.items()):
            scores, right, _ = zip(*bins, strict=True)
            is_first = index == 0 and len(kinds) > 1
            colour = SERIES[1] if is_first else SERIES[0]
            style = {"color": colour, "marker": "o", "linestyle": "--" if is_first else "-"}
            axes.plot(scores, right, label=name, clip_on=False, **style)
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="mean score", ylabel="share that is right")
        axes.legend(labelcolor=SOFT)

    rows = [
        [f"{score:.3f}", name, f"{right:.3f}", f"{count:,}"]
        for name, bins in kinds.items()
        for score, right, count in bins
    ]
    headers = ["mean score", "of", "share right", "rows"]
    described = "Points on the diagonal are as often right as their score says; below it the model is too sure."
    return draw("chart-reliability", "Share of right answers by score", described, paint, headers=headers, rows=rows)


def coverage_section(evidence: Evidence, predictions: Predictions) -> Section:
    """Draw how often answers are right if only the surest are given."""
    assert evidence.target, "there are predictions"
    sure = confidence(evidence.target, predictions.scores, predictions.decided)
    order = np.argsort(-sure, kind="stable")
    right = np.cumsum(~is_wrong(predictions.labels, predictions.decided)[order])
    total = len(order)
    shares = right / np.arange(1, total + 1)
    points = np.unique(np.linspace(0, total - 1, min(MAX_POINTS, total)).round().astype(int))
    is_several = isinstance(evidence.target, MultiLabel)
    name = "subset_accuracy" if is_several else "accuracy"

    def paint(axes: Any) -> None:
        axes.plot((points + 1) / total, shares[points], color=SERIES[0])
        axes.set(xlim=(0, 1), xlabel="share of texts that get an answer", ylabel="share of these that is right")

    rows = []
    for coverage in COVERAGES:
        count = max(1, round(coverage * total))
        least = float(sure[order[count - 1]])
        accuracy = float(shares[count - 1])
        is_all = count == total
        shown = figure([*evidence.path, name], accuracy) if is_all else number(accuracy)
        rows.append([f"{count / total:.0%}", f"{count:,}", shown, f"{count - int(right[count - 1]):,}", f"{least:.3f}"])
    chart = draw("chart-coverage", "Accuracy by coverage", "The surest answers come first.", paint)
    return Section(
        "coverage", "Accuracy by coverage", fragment("coverage.html", chart=chart, rows=rows, several=is_several)
    )


def threshold_section(evidence: Evidence, predictions: Predictions) -> tuple[Section, dict[str, Any]]:
    """Show what a threshold does to precision, recall and counts; return what its script needs, too."""
    target = evidence.target
    assert target, "there are predictions"
    several = isinstance(target, MultiLabel)
    scores, total = predictions.scores, len(predictions.ids)
    has_label = predictions.labels.astype(bool) if several else None
    counts = (
        has_label.sum(axis=0) if has_label is not None else np.bincount(predictions.labels, minlength=len(target.names))
    )
    most = np.argsort(-counts, kind="stable")[:MOST_LABELS].tolist()
    options = []
    if several:
        every = [_counts(scores[:, code], predictions.labels[:, code] == 1) for code in range(len(target.names))]
        tp, given = (np.sum([of[index] for of in every], axis=0) for index in (0, 1))
        options.append(_option("all labels together", tp, given, int(counts.sum()), total * len(target.names), 0.5))
    else:
        sure = confidence(target, scores, predictions.decided)
        right, given = _counts(sure, predictions.decided == predictions.labels)
        options.append(_option("the label that is answered", right, given, total, total, 0.0))
    for code in sorted(most):
        has = predictions.labels[:, code] == 1 if several else predictions.labels == code
        tp, given = _counts(scores[:, code], has)
        cut = float(target.cuts[code]) if isinstance(target, MultiLabel) else 0.5
        options.append(_option(target.names[code], tp, given, int(counts[code]), total, cut))

    def paint(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], gid="frame", linewidth=0)
        for index, (name, values) in enumerate(_curves(options[0]).items()):
            axes.plot(GRID, values, color=SERIES[index], gid=name, label=name, linestyle=("-", "--")[index])
        axes.plot([0, 0], [0, 1], color=SOFT, linestyle=":", gid="marker")
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="threshold")
        axes.legend(labelcolor=SOFT, loc="lower left")

    described = "Of the label that is chosen; the figures at the chosen threshold stand beside it."
    chart = draw("chart-threshold", "Precision and recall by threshold", described, paint)
    body = fragment(
        "thresholds.html",
        options=[option["name"] for option in options],
        chart=chart,
        several=several,
        left_out=len(target.names) - len(most),
        most=MOST_LABELS,
    )
    return Section("thresholds", "Thresholds", body), {"thresholds": options, "several": several}


def _counts(scores: np.ndarray, is_right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Count the rows from each threshold of the grid on: those that are right, and all."""
    place = np.searchsorted(GRID, scores, side="right") - 1
    right, all_rows = (np.bincount(place[of], minlength=len(GRID)) for of in (is_right, slice(None)))
    return right[::-1].cumsum()[::-1], all_rows[::-1].cumsum()[::-1]


def _option(name: str, right: np.ndarray, given: np.ndarray, positives: int, total: int, cut: float) -> dict[str, Any]:
    values = {"right": right.tolist(), "given": given.tolist(), "positives": positives, "total": total}
    return {"name": name, **values, "at": round(100 * cut)}


def _curves(option: dict[str, Any]) -> dict[str, np.ndarray]:
    right, given = np.array(option["right"]), np.array(option["given"])
    precision = np.where(given > 0, right / np.maximum(given, 1), np.nan)
    return {"precision": precision, "recall": right / max(1, option["positives"])}


def residuals_section(evidence: Evidence, predictions: Predictions) -> Section:
    """Draw how far numbers are off."""
    labels, decided = predictions.labels, predictions.decided
    errors = decided - labels
    counts, edges = np.histogram(errors, 30)
    chosen = np.sort(np.random.default_rng(0).permutation(len(labels))[:MOST_DOTS])

    def paint_errors(axes: Any) -> None:
        axes.bar(edges[:-1], counts, np.diff(edges), align="edge", color=SERIES[0], alpha=0.8)
        axes.axvline(0, color=SOFT, linestyle=":")
        axes.set(xlabel="predicted - right number", ylabel="rows")

    def paint_cloud(axes: Any) -> None:
        ends = [float(min(labels.min(), decided.min())), float(max(labels.max(), decided.max()))]
        axes.plot(ends, ends, color=SOFT, linestyle=":", linewidth=1)
        axes.plot(labels[chosen], decided[chosen], "o", color=SERIES[0], markersize=3, alpha=0.5)
        axes.set(xlabel="right number", ylabel="predicted")

    bins = [
        [f"{low:,.3f} to {high:,.3f}", f"{rows:,}"] for low, high, rows in zip(edges, edges[1:], counts, strict=False)
    ]
    points = (0.05, 0.25, 0.5, 0.75, 0.95)
    of_errors = [
        [f"{point:.0%}", f"{np.quantile(errors, point):,.4f}", f"{np.quantile(np.abs(errors), point):,.4f}"]
        for point in points
    ]
    some = "" if len(labels) <= MOST_DOTS else f", {MOST_DOTS} of {len(labels):,} rows at random"
    charts = [
        draw("chart-residuals", "Residuals", "", paint_errors, headers=["predicted - right", "rows"], rows=bins),
        draw("chart-cloud", f"Predicted by right number{some}", "On the diagonal both are the same.", paint_cloud),
    ]
    return Section("residuals", "Residuals", fragment("residuals.html", charts=charts, rows=of_errors))
