"""Metrics as a few small tables."""

from accel_clf.core.console import format_table
from accel_clf.targets.metrics import MeanAndSpread, Metrics

MAX_CLASSES = 12  # with more, all tables are left to metrics.json


def metrics_text(metrics: Metrics) -> str:
    """Write metrics as a line of averages, a table per class with the confusion matrix, and a table per slice."""
    averages = "  ".join(f"{name} {value:.4f}" for name, value in metrics.values.items())
    parts = [f"{averages}  ({metrics.rows} rows)"]
    names = list(metrics.per_class)
    if len(names) <= MAX_CLASSES:
        rows = [
            [name, f"{of.precision:.3f}", f"{of.recall:.3f}", f"{of.f1:.3f}", str(of.rows), *map(str, confusion)]
            for (name, of), confusion in zip(metrics.per_class.items(), metrics.confusion, strict=True)
        ]
        parts.append(
            format_table(["label", "precision", "recall", "f1", "rows", *[f"as {name}" for name in names]], rows)
        )
    else:
        weakest = sorted(metrics.per_class.items(), key=lambda item: item[1].f1)[:MAX_CLASSES]
        rows = [[name, f"{of.f1:.3f}", str(of.rows)] for name, of in weakest]
        parts.append(
            f"the {MAX_CLASSES} weakest of {len(names)} labels:\n" + format_table(["label", "f1", "rows"], rows)
        )
    if metrics.slices:
        rows = [
            [name, f"{of['accuracy']:.4f}", f"{of['macro_f1']:.4f}", str(of.rows)]
            for name, of in metrics.slices.items()
        ]
        parts.append(format_table(["slice", "accuracy", "macro_f1", "rows"], rows))
    return "\n\n".join(parts)


def mean_and_spread_text(summary: MeanAndSpread) -> str:
    """Write the metrics of several models in a line."""
    return "  ".join(f"{name} {mean:.4f} ± {summary.spread[name]:.4f}" for name, mean in summary.mean.items())
