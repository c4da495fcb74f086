"""What a cross-validation's folds say together: out-of-fold metrics, temperature, suspect labels, ensemble."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from accel_clf.config.schema import Config
from accel_clf.core.console import log
from accel_clf.core.files import atomic_write, csv_line, write_json
from accel_clf.data.dataset import Dataset
from accel_clf.data.splits import Splits
from accel_clf.data.texts import side_names, sides
from accel_clf.inference.evaluate import evaluate
from accel_clf.run_folder.examples import chosen_rows, write_examples
from accel_clf.run_folder.layout import TEMPERATURES, fold_name
from accel_clf.run_folder.predictions import (
    PREDICTION_FILES,
    SLICES,
    read_logits,
    slice_column,
    write_predictions,
    write_slices,
)
from accel_clf.targets.fitting import cross_fit
from accel_clf.targets.metrics import FoldsSummary
from accel_clf.training import baseline


def aggregate(config: Config, rows: Splits, assignment: np.ndarray) -> dict[str, Any]:
    """Read the predictions of all folds, and write what they are worth.

    Writes out_of_fold.csv, suspect_labels.csv, predictions.csv where there is a test set, what a report needs beside
    them, and metrics.json, last.

    Args:
        config: the cross-validation's settings.
        rows: its rows, `train` being all that were assigned to folds.
        assignment: int64 [rows], the fold that holds each of them out.

    Returns:
        The contents of metrics.json: nothing that depends on when, where or how often the folds were trained.

    Raises:
        UserError: a fold's predictions are not those of its rows.
    """
    output, train, settings = Path(config.output), rows.train, config.evaluation
    logits = np.empty((len(train), len(train.target.output_names)), np.float32)
    per_fold = []
    for fold in range(config.folds):
        in_fold = np.flatnonzero(assignment == fold)
        held_out = train.take(in_fold)
        logits[in_fold] = read_logits(output / fold_name(fold) / PREDICTION_FILES["held_out"], held_out)
        per_fold.append(evaluate(train.target.scores(logits[in_fold]), held_out, settings).metrics)
    target, labels = train.target, train.labels
    thresholds = config.target.thresholds == "f1"
    fitted = cross_fit(
        target, logits, labels, assignment, temperature=True, thresholds=thresholds, loss=config.target.loss
    )
    scores = target.scores(logits)
    decided = fitted.decided if thresholds else target.decide(scores)
    columns: dict[str, Sequence[Any]] = {"fold": assignment.tolist()}
    columns |= slice_column(train)
    write_predictions(output / "out_of_fold.csv", train, logits, columns, decided)
    write_json(output / TEMPERATURES, fitted.temperatures)
    opened = {"out_of_fold": train.take(chosen_rows(fitted.target, labels, scores, decided))}
    results: dict[str, Any] = {
        "folds": config.folds,
        **FoldsSummary.of(per_fold).to_json(),
        "out_of_fold": evaluate(scores, train, settings, decided).metrics.to_json(),
        "calibration": fitted.to_json(),
    }
    if thresholds:
        results["thresholds"] = fitted.target.thresholds_by_name()
    all_rows = replace(train, target=fitted.target)
    results["suspect_labels"] = _write_suspects(
        output, all_rows, target.scores(logits / fitted.temperature), assignment
    )
    if rows.test:
        test = replace(rows.test, target=fitted.target)
        results["test"], test_scores = _test(config, test, fitted.temperature)
        opened["test"] = test.take(chosen_rows(test.target, test.labels, test_scores, test.target.decide(test_scores)))
        if test.slices:
            write_slices(output / SLICES, test)
    write_examples(output, opened)
    if rows.calibration:
        _write_ensemble(config, rows.calibration, fitted.temperature, "calibration")
    if settings.baseline:
        log(f"fitting TF-IDF with {target.baseline_name} on the same folds")
        results |= _baseline(train, assignment, config.folds)
    write_json(output / "metrics.json", results)
    return results


def _write_suspects(output: Path, rows: Dataset, scores: np.ndarray, folds: np.ndarray) -> dict[str, int]:
    """Write the rows whose label is doubted by models that were not trained on them, the most doubtful first."""
    target, labels = rows.target, rows.labels
    suspects = target.suspects(labels, scores)
    decided = target.decide(scores)
    indices = set(suspects.rows.tolist())
    texts = {index: text for index, text in enumerate(rows.texts()) if index in indices}
    with atomic_write(output / "suspect_labels.csv") as file:
        columns = ["row", "fold", "label", "predicted", "probability_of_label", "issue"]
        file.write(csv_line([*columns, *side_names(rows.has_pairs)]))
        for index in suspects.rows.tolist():
            position = [int(rows.ids[index]), int(folds[index])]
            names = [target.to_text(labels[index]), target.to_text(decided[index])]
            issue = str(bool(suspects.is_issue[index])).lower()
            values = [*position, *names, float(suspects.probabilities[index]), issue, *sides(texts[index])]
            file.write(csv_line(values))
    return {"listed": len(suspects.rows), "issues": int(suspects.is_issue[suspects.rows].sum())}


def _test(config: Config, rows: Dataset, temperature: float) -> tuple[dict[str, Any], np.ndarray]:
    """Evaluate the ensemble on the test rows, and write its predictions; evaluate the folds' models alone, too.

    Returns:
        What metrics.json has of it, and the scores.
    """
    logits, scores = _write_ensemble(config, rows, temperature, "test")
    per_model = [evaluate(rows.target.scores(of_fold), rows, config.evaluation).metrics for of_fold in logits]
    ensemble = evaluate(scores, rows, config.evaluation).metrics
    return {"ensemble": ensemble.to_json(), **FoldsSummary.of(per_model).to_json()}, scores


def _write_ensemble(
    config: Config, rows: Dataset, temperature: float, split: str
) -> tuple[list[np.ndarray], np.ndarray]:
    """Write the ensemble's predictions for rows that all models have read; return each one's logits, and the scores."""
    output, name, target = Path(config.output), PREDICTION_FILES[split], rows.target
    logits = [read_logits(output / fold_name(fold) / name, rows) for fold in range(config.folds)]
    scores = np.mean([target.scores(of_fold / temperature) for of_fold in logits], axis=0)
    write_predictions(output / name, rows, target.logits(scores).astype(np.float32))
    return logits, scores


def _baseline(rows: Dataset, assignment: np.ndarray, folds: int) -> dict[str, Any]:
    """Average the baseline's metrics over the folds, by their rows."""
    sums: dict[str, float] = {}
    for fold in range(folds):
        held_out = rows.take(np.flatnonzero(assignment == fold))
        values = baseline.tfidf_metrics(rows.take(np.flatnonzero(assignment != fold)), held_out)
        if not values:
            return {}
        sums = {name: sums.get(name, 0.0) + value * len(held_out) for name, value in values.items()}
    return {"baseline": {name: value / len(rows) for name, value in sums.items()}}
