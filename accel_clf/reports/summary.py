"""What `train`, `cv` and `evaluate` print at their end."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from accel_clf.core.console import format_table
from accel_clf.reports.names import shortened
from accel_clf.reports.text import mean_and_spread_text, metrics_text
from accel_clf.targets.metrics import MeanAndSpread, Metrics

if TYPE_CHECKING:
    from accel_clf.inference.bulk import RunEvaluation


def training_summary(results: Mapping[str, Any], output: str) -> str:
    """Write the contents of a run's metrics.json, and what to do with the run.

    Args:
        results: the contents.
        output: the run folder.
    """
    training = results["training"]
    best = f", best after {training['best_step']}" if "validation" in results else ""
    early = " (stopped early)" if training["stopped_early"] else ""
    lines = [f"trained {training['steps']} steps in {training['seconds']:.1f} s{best}{early}"]
    for split in ("validation", "test"):
        if split in results:
            lines.append(f"\n{split}: {metrics_text(Metrics.from_json(results[split]))}")
    if "calibration" in results:
        lines.append(f"\n{_calibration_text(results['calibration']).rstrip()}")
    if "baseline" in results:
        lines.append(f"\n{_baseline_text(results)} on the same rows: {_values_text(results['baseline'])}")
    lines.append(f'\nrun folder: {output}\ntry it:     accel-clf predict {output} "..."')
    return "\n".join(lines)


def cross_validation_summary(results: Mapping[str, Any], output: str) -> str:
    """Write the contents of a cross-validation's metrics.json, and what to do with it.

    Args:
        results: the contents.
        output: the folder.
    """
    folds = results["each"]
    names = list(results["mean"])
    rows = [[f"fold {fold['fold']}", *(f"{fold[name]:.4f}" for name in names), str(fold["rows"])] for fold in folds]
    rows += [[row, *(f"{results[row][name]:.4f}" for name in names), ""] for row in ("mean", "spread")]
    parts = [format_table(["", *names, "rows"], rows)]
    if "slices" in results:
        metric = names[0]
        header = [f"{metric} of", *(f"fold {fold['fold']}" for fold in folds), "mean", "spread"]
        by_slice = [
            [
                shortened(name),
                *(f"{fold['slices'][name][metric]:.4f}" if name in fold["slices"] else "-" for fold in folds),
                *(f"{results['slices'][name][column][metric]:.4f}" for column in ("mean", "spread")),
            ]
            for name in results["slices"]
        ]
        parts.append(format_table(header, by_slice))
    out_of_fold = Metrics.from_json(results["out_of_fold"])
    parts.append(f"every row once, out of fold: {metrics_text(out_of_fold)}")
    if "test" in results:
        test = results["test"]
        parts.append(f"test, by all models together: {metrics_text(Metrics.from_json(test['ensemble']))}")
        models = MeanAndSpread(test["mean"], test["spread"])
        parts.append(f"test, by each model alone: {mean_and_spread_text(models)}")
    if "baseline" in results:
        parts.append(f"{_baseline_text(results)} on the same folds: {_values_text(results['baseline'])}")
    suspects = results["suspect_labels"]
    parts.append(
        f"{_calibration_text(results['calibration'])}"
        f"{suspects['listed']} rows with a doubtful label, of which {suspects['issues']} are most likely wrong: "
        f"{output}/suspect_labels.csv"
    )
    parts.append(f'folder: {output}\ntry it: accel-clf predict {output} "..."')
    return "\n\n".join(parts)


def _values_text(values: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.4f}" for name, value in values.items())


def _baseline_text(results: Mapping[str, Any]) -> str:
    """Name the baseline, whose model depends on what is predicted."""
    return "TF-IDF + " + ("ridge regression" if "rmse" in results["baseline"] else "logistic regression")


def _calibration_text(calibration: Mapping[str, Any]) -> str:
    """Write a temperature and what it does, in a line; nothing where there are no probabilities."""
    error = calibration.get("expected_calibration_error")
    if error is None:
        return ""
    return (
        f"temperature {calibration['temperature']:.3f}: "
        f"expected calibration error {error['before']:.4f} -> {error['after']:.4f}\n"
    )


def evaluation_summary(evaluation: "RunEvaluation") -> str:
    """Write the metrics of a run on other rows; of a cross-validation's models alone, too."""
    parts = [metrics_text(evaluation.metrics)]
    if models := evaluation.models:
        parts.append(f"its {len(models.folds)} models alone: {mean_and_spread_text(models.overall)}")
    if at_risk := evaluation.abstention:
        parts.append(
            f"answered: {at_risk['answered']:.1%} of texts, {at_risk['error']:.1%} of them wrongly; "
            f"sets hold the right label of {at_risk['coverage']:.1%}, with {at_risk['set_size']:.1f} labels on average"
        )
    return "\n\n".join(parts)
