"""Which labels are taken for which, and how good each label and each slice is."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from markupsafe import Markup

from accel_clf.reports import intervals
from accel_clf.reports.charts import LONGEST_NAME, SERIES, Chart, draw
from accel_clf.reports.html.evidence import Evidence, Predictions
from accel_clf.reports.html.figures import averages, figure, interval, metric_name
from accel_clf.reports.intervals import Interval
from accel_clf.reports.names import NO_LABEL, shortened
from accel_clf.reports.page import Section, fragment, isolated, spoken
from accel_clf.run_folder.examples import is_wrong, of_cells
from accel_clf.targets.multi_label import MultiLabel

MOST_SHOWN = 20  # labels of the matrix; of more, those with most errors
MOST_CONFUSIONS = 20
MOST_LISTED = 500  # labels of a table; of more, those with the lowest F1
MOST_BARS = 40  # labels of a chart
LEAST_ROWS = 30  # of a label or a slice, below which an interval is wide


def confusion_entries(results: Mapping[str, Any]) -> np.ndarray:
    """Return the confusion matrix of a part of metrics.json: int [cells that are not 0, 3], label, prediction, rows."""
    confusion = results["confusion"]
    if isinstance(confusion, list):
        matrix = np.array(confusion)
        labels, predicted = np.nonzero(matrix)
        return np.stack([labels, predicted, matrix[labels, predicted]], axis=1)
    return np.array(confusion["entries"], np.int64).reshape(-1, 3)


def confusion_section(evidence: Evidence) -> tuple[Section, dict[str, Any]]:
    """Show the confusion matrix; return what its script needs, too."""
    results, names = evidence.results, list(evidence.results["per_class"])
    entries = confusion_entries(results)
    errors = entries[entries[:, 0] != entries[:, 1]]
    of_label = np.bincount(errors[:, :2].ravel(), np.repeat(errors[:, 2], 2), len(names))
    shown = sorted(np.argsort(-of_label, kind="stable")[:MOST_SHOWN].tolist())
    largest = errors[np.argsort(-errors[:, 2], kind="stable")][:MOST_CONFUSIONS].tolist()
    counts = {(label, predicted): rows for label, predicted, rows in entries.tolist()}
    is_dense = isinstance(results["confusion"], list)

    def cell(label: int, predicted: int) -> Markup | str:
        rows = counts.get((label, predicted), 0)
        return figure([*evidence.path, "confusion", label, predicted], rows) if is_dense else f"{rows:,}"

    section = Section(
        "confusion",
        "Confusion matrix",
        fragment(
            "confusion.html",
            names=names,
            short=[isolated(name, LONGEST_NAME) for name in names],
            shown=shown,
            counts=counts,
            totals=[results["per_class"][name]["rows"] for name in names],
            cell=cell,
            largest=largest,
            rows=results["rows"],
            total_errors=int(errors[:, 2].sum()),
            left_out=results["rows"] - int(entries[:, 2].sum()),
        ),
    )
    return section, {"labels": names, "confusion": entries.tolist()}


def per_class_section(evidence: Evidence) -> Section:
    """Show the metrics of each label, with intervals."""
    results = evidence.results
    several = isinstance(evidence.target, MultiLabel) or "confusion" not in results
    rows, bars = [], []
    everything = list(enumerate(results["per_class"].items()))
    weakest = sorted(everything, key=lambda item: (not item[1][1]["rows"], item[1][1]["f1"]))[:MOST_LISTED]
    for code, (name, of) in everything if len(everything) <= MOST_LISTED else sorted(weakest):
        path = [*evidence.path, "per_class", name]
        both = round(of["recall"] * of["rows"])
        predicted = of.get("predicted")
        bounds: dict[str, Interval | None] = {
            "precision": intervals.wilson(of["precision"], predicted) if predicted else None,
            "recall": intervals.wilson(of["recall"], of["rows"]) if of["rows"] else None,
            "f1": intervals.f1_of_counts(both, predicted, of["rows"], results["rows"])
            if predicted is not None and both
            else None,
        }
        rows.append(
            {
                "code": code,
                "name": isolated(name),
                "spoken": spoken(name),
                "metrics": [(figure([*path, key], of[key]), interval(bounds[key])) for key in bounds],
                "rows": figure([*path, "rows"], of["rows"]),
                "predicted": figure([*path, "predicted"], predicted),
                "is_small": of["rows"] < LEAST_ROWS,
                "further": [
                    figure([*path, key], of.get(key)) for key in ("average_precision", "roc_auc", "ece", "threshold")
                ],
                "missed": of["rows"] - both,
                "wrong": (predicted or 0) - both,
            }
        )
        bars.append((name, of["f1"], bounds["f1"]))
    return Section(
        "labels",
        "Each label",
        fragment(
            "labels.html",
            rows=rows,
            several=several,
            chart=_bars(bars),
            least=LEAST_ROWS,
            left_out=len(everything) - len(rows),
        ),
    )


def _bars(bars: list[tuple[str, float, Interval | None]]) -> Chart | None:
    if len(bars) < 2:
        return None
    worst = sorted(bars, key=lambda bar: bar[1])[:MOST_BARS]
    of = "" if len(bars) <= MOST_BARS else f": the {MOST_BARS} weakest of {len(bars)} labels"

    def paint(axes: Any) -> None:
        places = np.arange(len(worst))[::-1]
        axes.barh(places, [f1 for _, f1, _ in worst], color=SERIES[0], alpha=0.75, height=0.7)
        for place, (_, f1, bounds) in zip(places, worst, strict=True):
            if bounds:
                ends = [[max(0, f1 - bounds.low)], [max(0, bounds.high - f1)]]
                axes.errorbar([f1], [place], xerr=ends, color=SERIES[1], capsize=3, linewidth=1.5)
        axes.set_yticks(places, [shortened(name, LONGEST_NAME) for name, _, _ in worst])
        axes.set_xlim(0, 1)
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("F1")

    height = 1.0 + 0.26 * len(worst)
    described = "; ".join(f"{shortened(name)} {f1:.3f}" for name, f1, _ in worst[:5])
    return draw("chart-labels", f"F1 with its 95% interval{of}", f"The weakest: {described}", paint, size=(4.4, height))


def slices_section(evidence: Evidence) -> Section | None:
    """Show the metrics of each slice, with intervals; None where there are no slices."""
    slices = evidence.results.get("slices")
    if not slices:
        return None
    columns = [name for name in averages(next(iter(slices.values()))) if name in averages(evidence.results)]
    rows = []
    for name, of in sorted(slices.items(), key=lambda item: -item[1]["rows"]):
        bounds = slice_intervals(evidence, name, of)
        rows.append(
            {
                "name": isolated(name),
                "rows": figure([*evidence.path, "slices", name, "rows"], of["rows"]),
                "is_small": of["rows"] < LEAST_ROWS,
                "values": [
                    (figure([*evidence.path, "slices", name, column], of.get(column)), bounds.get(column))
                    for column in columns
                ],
            }
        )
    return Section(
        "slices",
        "Each slice",
        fragment(
            "slices.html",
            column=evidence.config.data.slice,
            headers=[metric_name(name) for name in columns],
            rows=[
                {**row, "values": [(value, bounds and interval(bounds)) for value, bounds in row["values"]]}
                for row in rows
            ],
            least=LEAST_ROWS,
        ),
    )


def slice_intervals(evidence: Evidence, name: str, of: Mapping[str, Any]) -> dict[str, Interval]:
    """Estimate the intervals of a slice's metrics."""
    predictions = evidence.predictions
    if predictions is None or predictions.slices is None:
        return intervals.metric_intervals(of, of["rows"])
    return metric_intervals(evidence, of, predictions, predictions.slices == name)


def metric_intervals(
    evidence: Evidence, of: Mapping[str, Any], predictions: Predictions | None = None, chosen: np.ndarray | None = None
) -> dict[str, Interval]:
    """Estimate the intervals of the averages over rows, as far as they have one.

    Args:
        evidence: of what is predicted.
        of: the metrics.
        predictions: of the rows; None where only the metrics are known.
        chosen: bool [rows], which they are of; None for all.
    """
    if predictions is None:
        return intervals.metric_intervals(of, of["rows"])
    labels, decided = predictions.labels, predictions.decided
    if chosen is not None:
        labels, decided = labels[chosen], decided[chosen]
    return intervals.metric_intervals(of, of["rows"], evidence.target, labels, decided)


def opened_cells(evidence: Evidence) -> dict[str, Any]:
    """Return the rows that a cell opens, and how they are shown: for the script."""
    predictions, target = evidence.predictions, evidence.target
    if predictions is None or target is None:
        return {"cells": {}, "opened": []}
    cells = of_cells(target, predictions.labels, predictions.scores, predictions.decided)
    index: dict[int, int] = {}
    by_cell = {}
    for (label, predicted), rows in cells.items():
        by_cell[f"{label},{predicted}"] = [index.setdefault(row, len(index)) for row in rows.tolist()]
    opened = [opened_row(evidence, predictions, row) for row in index]
    return {"cells": by_cell, "opened": opened}


def opened_row(evidence: Evidence, predictions: Predictions, row: int) -> list[Any]:
    """Return a row as scripts show it: its number, its label, the prediction and its score, its texts."""
    target = evidence.target
    assert target, "there are predictions"
    row_id = int(predictions.ids[row])
    label, decided = predictions.labels[row], predictions.decided[row]
    score = float(predictions.scores[row][decided]) if target.has_score else None
    texts = evidence.texts.get((evidence.split, row_id), ())
    names = (target.to_text(of) or NO_LABEL for of in (label, decided))
    return [row_id, *names, None if score is None else f"{score:.3f}", *texts]


def wrong_rows(predictions: Predictions) -> int:
    """Count the rows whose answer is not all right."""
    return int(is_wrong(predictions.labels, predictions.decided).sum())
