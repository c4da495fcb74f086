"""What scores are worth: reliability, accuracy against coverage, thresholds; of numbers, residuals."""

from typing import Any

import numpy as np

from accel_clf.reports.charts import SERIES, SOFT, Chart, draw
from accel_clf.reports.html.evidence import Evidence, Predictions
from accel_clf.reports.html.figures import figure, number
from accel_clf.reports.names import shortened
from accel_clf.reports.page import LONGEST_IN_TABLE, Section, fragment
from accel_clf.run_folder.examples import confidence, is_wrong
from accel_clf.targets.base import Target
from accel_clf.targets.calibration import BINS
from accel_clf.targets.multi_label import THRESHOLD, MultiLabel
from accel_clf.targets.ordinal import Ordinal

MAX_POINTS = 200  # of a curve
COVERAGES = (1.0, 0.99, 0.95, 0.9, 0.8, 0.7, 0.5)
GRID = np.arange(101) / 100  # of thresholds, beside the one in use
COUNTED = ("right", "given", "positives", "total")  # at each threshold, the last two at any
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
            chart=_reliability_chart(bins, isinstance(evidence.target, Ordinal)),
            ece=figure([*evidence.path, "ece"], evidence.results.get("ece")),
            temperature=calibration and figure(["calibration", "temperature"], calibration["temperature"]),
            errors=errors,
            several=isinstance(evidence.target, MultiLabel),
            is_ordinal=isinstance(evidence.target, Ordinal),
            is_weighted=weights is not None,
            fitted_to="out-of-fold" if evidence.is_cross_validation else "validation",
        ),
    )


def reliability(
    target: Target, labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None
) -> list[tuple[float, float, float]]:
    """Compute the mean score, the share of right answers and the number of rows of each bin of scores that has any.

    Of one label a text the score is that of the likeliest, as in metrics.json; of several, all scores count.
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


def _reliability_chart(kinds: dict[str, list[tuple[float, float, float]]], is_ordinal: bool) -> Chart:
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
    title = "How often the likeliest label is right, by its score" if is_ordinal else "Share of right answers by score"
    return draw("chart-reliability", title, described, paint, headers=headers, rows=rows)


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
    is_several = isinstance(target, MultiLabel)
    scores, labels = predictions.scores, predictions.labels
    codes = np.arange(len(target.names))
    counts = labels.sum(axis=0, dtype=np.int64) if is_several else np.bincount(labels, minlength=len(codes))
    most = np.argsort(-counts, kind="stable")[:MOST_LABELS].tolist()
    if isinstance(target, MultiLabel):
        cuts = target.cuts
        shared = float(cuts[0]) if len(set(cuts)) == 1 else THRESHOLD
        every = [_option("all labels together", scores[:, code], labels[:, code] == 1, shared) for code in codes]
        sums = {name: np.sum([of[name] for of in every], axis=0).tolist() for name in COUNTED}
        options = [every[0] | sums]
    else:
        cuts = np.full(len(codes), THRESHOLD)
        sure = confidence(target, scores, predictions.decided)
        answers = _option("the label that is answered", sure, predictions.decided == labels, 0.0)
        options = [answers | {"positives": len(labels)}]
    for code in sorted(most):
        has = labels[:, code] == 1 if is_several else labels == code
        options.append(_option(target.names[code], scores[:, code], has, float(cuts[code])))

    def paint(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], gid="frame", linewidth=0)
        stops = _stops(options[0]["cut"])
        for index, (name, values) in enumerate(_curves(options[0]).items()):
            axes.plot(stops, values, color=SERIES[index], gid=name, label=name, linestyle=("-", "--")[index])
        axes.plot([0, 0], [0, 1], color=SOFT, linestyle=":", gid="marker")
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="threshold")
        axes.legend(labelcolor=SOFT, loc="lower left")

    described = "Of the label that is chosen; the figures at the chosen threshold stand beside it."
    body = fragment(
        "thresholds.html",
        options=[shortened(option["name"], LONGEST_IN_TABLE) for option in options],
        chart=draw("chart-threshold", "Precision and recall by threshold", described, paint),
        several=is_several,
        in_use=_in_use(evidence, predictions) if len(set(cuts)) > 1 else None,
        shared=f"{THRESHOLD:.2f}",
        are_cross_fitted=is_several and bool((target.decide(scores) != predictions.decided).any()),
        left_out=len(target.names) - len(most),
        most=MOST_LABELS,
    )
    return Section("thresholds", "Thresholds", body), {"thresholds": options, "several": is_several}


def _in_use(evidence: Evidence, predictions: Predictions) -> list[str]:
    """Return precision, recall and F1 of all labels together, each by the threshold of its own."""
    labels, decided = predictions.labels, predictions.decided
    both = int((labels & decided).sum(dtype=np.int64))
    shares = [number(both / max(1, int(of.sum(dtype=np.int64)))) for of in (decided, labels)]
    return [*shares, figure([*evidence.path, "micro_f1"], evidence.results["micro_f1"])]


def _option(name: str, scores: np.ndarray, is_right: np.ndarray, cut: float) -> dict[str, Any]:
    """Count what a threshold gives at each stop of the slider.

    Args:
        name: of what is given.
        scores: float [rows].
        is_right: bool [rows], where it would be given rightly.
        cut: the threshold to begin with.
    """
    stops = _stops(cut)
    place = np.searchsorted(stops, scores, side="right") - 1
    counts_right, counts_all = (
        np.bincount(place[of], minlength=len(stops))[::-1].cumsum()[::-1].tolist() for of in (is_right, slice(None))
    )
    counts = (counts_right, counts_all, int(is_right.sum()), len(scores))
    return {"name": name, "cut": cut, **dict(zip(COUNTED, counts, strict=True))}


def _stops(cut: float) -> np.ndarray:
    """Return the thresholds that the slider stops at, as its script has them, too: the grid, and the one in use."""
    return np.union1d(GRID, [cut])


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
