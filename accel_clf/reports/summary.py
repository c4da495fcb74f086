"""What `train` and `cv` print at their end."""

from collections.abc import Mapping
from typing import Any

from accel_clf.core.console import table
from accel_clf.reports import text
from accel_clf.reports.text import _mean_and_spread, metrics


def summary(results: dict[str, Any], output: str) -> str:
    """What `accel-clf train` prints at its end."""
    trained = results["training"]
    best = f", best after {trained['best_step']}" if "validation" in results else ""
    lines = [
        f"trained {trained['steps']} steps in {trained['seconds']:.1f} s{best}"
        + (" (stopped early)" if trained["stopped_early"] else "")
    ]
    for part in ("validation", "test"):
        if part in results:
            lines.append(f"\n{part}: {text.metrics(results[part])}")
    if "baseline" in results:
        lines.append(f"\nTF-IDF + logistic regression on the same rows: accuracy {results['baseline']['accuracy']:.4f}")
    lines.append(f'\nrun folder: {output}\ntry it:     accel-clf predict {output} "..."')
    return "\n".join(lines)


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
