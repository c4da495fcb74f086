"""Metrics as a few small tables."""

from accel_clf.core.console import format_table
from accel_clf.reports.names import shortened
from accel_clf.targets.metrics import LabelMetrics, MeanAndSpread, Metrics

MAX_CLASSES = 12  # with more, all tables are left to metrics.json
_LABEL_COLUMNS = ("label", "precision", "recall", "f1", "rows")


def metrics_text(metrics: Metrics) -> str:
    """Write metrics as a line of averages, a table per label, with the confusion matrix where
    a text has one, and a table per slice.
    """
    averages = "  ".join(f"{name} {value:.4f}" for name, value in metrics.values.items())
    parts = [f"{averages}  ({metrics.rows} rows)"]
    names = list(metrics.per_class)
    if metrics.confusion is not None and len(names) <= MAX_CLASSES:
        assert isinstance(metrics.confusion, list), "that of few labels is written whole"
        rows = [
            [*_label_row(name, of), *map(str, confusion)]
            for (name, of), confusion in zip(metrics.per_class.items(), metrics.confusion, strict=True)
        ]
        parts.append(format_table([*_LABEL_COLUMNS, *[f"as {shortened(name)}" for name in names]], rows))
    elif 0 < len(names) <= MAX_CLASSES:
        rows = [
            [*_label_row(name, of), *(_number(value) for value in (of.average_precision, of.ece, of.threshold))]
            for name, of in metrics.per_class.items()
        ]
        parts.append(format_table([*_LABEL_COLUMNS, "average precision", "ece", "threshold"], rows))
    elif names:
        measured = [item for item in metrics.per_class.items() if item[1].rows]
        weakest = sorted(measured, key=lambda item: item[1].f1)[:MAX_CLASSES]
        rows = [[shortened(name), f"{of.f1:.3f}", str(of.rows)] for name, of in weakest]
        parts.append(
            f"the {len(weakest)} weakest of {len(measured)} labels:\n" + format_table(["label", "f1", "rows"], rows)
        )
    if metrics.slices:
        columns = list(metrics.values)[:2]  # a kind's first two say most
        rows = [
            [shortened(name), *(f"{of[column]:.4f}" for column in columns), str(of.rows)]
            for name, of in metrics.slices.items()
        ]
        parts.append(format_table(["slice", *columns, "rows"], rows))
    return "\n\n".join(parts)


def _label_row(name: str, of: LabelMetrics) -> list[str]:
    return [shortened(name), f"{of.precision:.3f}", f"{of.recall:.3f}", f"{of.f1:.3f}", str(of.rows)]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def mean_and_spread_text(summary: MeanAndSpread) -> str:
    """Write the metrics of several models in a line."""
    return "  ".join(f"{name} {mean:.4f} ± {summary.spread[name]:.4f}" for name, mean in summary.mean.items())
