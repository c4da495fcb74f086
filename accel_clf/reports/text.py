"""Results as text that a person reads."""

from collections.abc import Mapping
from typing import Any

from accel_clf.core.console import table

CLASSES_SHOWN = 12  # beyond that, tables are for metrics.json


def metrics(measured: Mapping[str, Any]) -> str:
    """What metrics.classification and the like found, as a few small tables."""
    averages = {name: value for name, value in measured.items() if isinstance(value, float)}
    parts = ["  ".join(f"{name} {value:.4f}" for name, value in averages.items()) + f"  ({measured['rows']} rows)"]
    names = list(measured["per_class"])
    if len(names) <= CLASSES_SHOWN:
        rows = [
            [name, f"{row['precision']:.3f}", f"{row['recall']:.3f}", f"{row['f1']:.3f}", str(row["rows"]), *confused]
            for (name, row), confused in zip(
                measured["per_class"].items(), [map(str, line) for line in measured["confusion"]], strict=True
            )
        ]
        parts.append(table(["label", "precision", "recall", "f1", "rows", *[f"as {name}" for name in names]], rows))
    else:
        weakest = sorted(measured["per_class"].items(), key=lambda item: item[1]["f1"])[:CLASSES_SHOWN]
        rows = [[name, f"{row['f1']:.3f}", str(row["rows"])] for name, row in weakest]
        parts.append(f"the {CLASSES_SHOWN} weakest of {len(names)} labels:\n" + table(["label", "f1", "rows"], rows))
    if "slices" in measured:
        rows = [
            [name, f"{part['accuracy']:.4f}", f"{part['macro_f1']:.4f}", str(part["rows"])]
            for name, part in measured["slices"].items()
        ]
        parts.append(table(["slice", "accuracy", "macro_f1", "rows"], rows))
    if "models" in measured:
        alone = measured["models"]
        parts.append(f"its {len(alone['each'])} models alone: " + _mean_and_spread(alone))
    return "\n\n".join(parts)


def _mean_and_spread(found: Mapping[str, Any]) -> str:
    return "  ".join(f"{name} {mean:.4f} ± {found['spread'][name]:.4f}" for name, mean in found["mean"].items())
