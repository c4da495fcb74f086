"""Results as text that a person reads."""

from collections.abc import Mapping, Sequence
from typing import Any

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


def cross_validation(results: Mapping[str, Any], output: str) -> str:
    """What out_of_fold.collect found, and what to do with it."""
    each = results["each"]
    names = list(results["mean"])
    rows = [[f"fold {fold['fold']}", *(f"{fold[name]:.4f}" for name in names), str(fold["rows"])] for fold in each]
    rows += [[what, *(f"{results[what][name]:.4f}" for name in names), ""] for what in ("mean", "spread")]
    parts = [table(["", *names, "rows"], rows)]
    if "slices" in results:
        header = ["accuracy of", *(f"fold {fold['fold']}" for fold in each), "mean", "spread"]
        by_slice = [
            [
                name,
                *(f"{fold['slices'][name]['accuracy']:.4f}" if name in fold["slices"] else "-" for fold in each),
                *(f"{results['slices'][name][what]['accuracy']:.4f}" for what in ("mean", "spread")),
            ]
            for name in results["slices"]
        ]
        parts.append(table(header, by_slice))
    parts.append(f"every row once, out of fold: {metrics(results['out_of_fold'])}")
    if "test" in results:
        test = results["test"]
        parts.append(f"test, by all models together: {metrics(test['ensemble'])}")
        parts.append(f"test, by each model alone: {_mean_and_spread(test)}")
    if "baseline" in results:
        found = results["baseline"]["accuracy"]
        parts.append(f"TF-IDF + logistic regression on the same folds: accuracy {found:.4f}")
    error, suspects = results["calibration"]["expected_calibration_error"], results["suspect_labels"]
    parts.append(
        f"temperature {results['calibration']['temperature']:.3f}: "
        f"expected calibration error {error['before']:.4f} -> {error['after']:.4f}\n"
        f"{suspects['listed']} rows with a doubtful label, of which {suspects['issues']} are most likely wrong: "
        f"{output}/suspect_labels.csv"
    )
    parts.append(f'folder: {output}\ntry it: accel-clf predict {output} "..."')
    return "\n\n".join(parts)


def _mean_and_spread(found: Mapping[str, Any]) -> str:
    return "  ".join(f"{name} {mean:.4f} ± {found['spread'][name]:.4f}" for name, mean in found["mean"].items())


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns in line: the first to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        first, *others = (
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "  " + "  ".join([first, *others]).rstrip()

    return "\n".join(line(cells) for cells in [header, *rows])
