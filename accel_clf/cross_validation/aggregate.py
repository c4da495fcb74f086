"""What a cross-validation's folds say together: out-of-fold metrics, temperature, suspect labels, ensemble."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from accel_clf.config.schema import Config
from accel_clf.core.console import log
from accel_clf.core.files import atomic_write, write_json
from accel_clf.data.dataset import Dataset
from accel_clf.data.splits import Splits
from accel_clf.inference.evaluate import evaluate
from accel_clf.run_folder.layout import fold_name
from accel_clf.run_folder.predictions import PREDICTION_FILES, read_logits, write_predictions
from accel_clf.targets import calibration
from accel_clf.targets.metrics import FoldsSummary
from accel_clf.targets.scores import probabilities
from accel_clf.training import baseline


def aggregate(config: Config, rows: Splits, assignment: np.ndarray) -> dict[str, Any]:
    """Read the predictions of all folds, and write what they are worth.

    Writes out_of_fold.csv, suspect_labels.csv, predictions.csv where there is a test set, and metrics.json, last.

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
    logits = np.empty((len(train), len(train.target.names)), np.float32)
    per_fold = []
    for fold in range(config.folds):
        in_fold = np.flatnonzero(assignment == fold)
        held_out = train.take(in_fold)
        logits[in_fold] = read_logits(output / fold_name(fold) / PREDICTION_FILES["held_out"], held_out)
        per_fold.append(evaluate(train.target.scores(logits[in_fold]), held_out, settings).metrics)
    target, labels = train.target, train.labels
    temperature = target.fit_temperature(logits, labels)
    columns: dict[str, Sequence[Any]] = {"fold": assignment.tolist()}
    if train.slices:
        columns["slice"] = [train.slices.names[code] for code in train.slices.codes]
    write_predictions(output / "out_of_fold.csv", train, logits, columns)
    results: dict[str, Any] = {
        "folds": config.folds,
        **FoldsSummary.of(per_fold).to_json(),
        "out_of_fold": evaluate(target.scores(logits), train, settings).metrics.to_json(),
        "calibration": _calibration(logits, labels, assignment, temperature),
        "suspect_labels": _write_suspects(output, train, target.scores(logits / temperature), assignment),
    }
    if rows.test:
        results["test"] = _test(config, rows.test, temperature)
    if settings.baseline:
        log("fitting TF-IDF with logistic regression on the same folds")
        results |= _baseline(train, assignment, config.folds)
    write_json(output / "metrics.json", results)
    return results


def _calibration(logits: np.ndarray, labels: np.ndarray, folds: np.ndarray, temperature: float) -> dict[str, Any]:
    """Return the temperature, and what one does to rows that it was not fitted on."""
    before, after = probabilities(logits), calibration.cross_fitted(logits, labels, folds)
    return {
        "temperature": temperature,
        "expected_calibration_error": {
            "before": calibration.expected_calibration_error(before, labels),
            "after": calibration.expected_calibration_error(after, labels),
        },
    }


def _write_suspects(output: Path, rows: Dataset, scores: np.ndarray, folds: np.ndarray) -> dict[str, int]:
    """Write the rows whose label is doubted by models that were not trained on them, the most doubtful first.

    A row is listed where another label is likelier. `issue` says whether confident learning takes it for an error
    (Northcutt et al., 2021, by cleanlab): likelier than other labels usually are, in that class.
    """
    from cleanlab.filter import find_label_issues  # takes seconds

    labels, names = rows.labels, rows.target.names
    is_issue = find_label_issues(labels, scores, n_jobs=1)
    label_scores = scores[np.arange(len(labels)), labels]
    doubted = np.flatnonzero(scores.argmax(axis=1) != labels)
    doubted = doubted[np.argsort(label_scores[doubted], kind="stable")]
    indices = set(doubted.tolist())
    texts = {index: text for index, text in enumerate(rows.texts()) if index in indices}
    with atomic_write(output / "suspect_labels.csv") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["row", "fold", "label", "predicted", "probability_of_label", "issue", "text"])
        for index in doubted.tolist():
            predicted = names[int(scores[index].argmax())]
            position = [int(rows.ids[index]), int(folds[index])]
            issue = str(bool(is_issue[index])).lower()
            row = [*position, names[labels[index]], predicted, float(label_scores[index]), issue, texts[index]]
            writer.writerow(row)
    return {"listed": len(doubted), "issues": int(is_issue[doubted].sum())}


def _test(config: Config, rows: Dataset, temperature: float) -> dict[str, Any]:
    """Evaluate the ensemble on the test rows, and write its predictions; evaluate the folds' models alone, too."""
    output = Path(config.output)
    name = PREDICTION_FILES["test"]
    logits = [read_logits(output / fold_name(fold) / name, rows) for fold in range(config.folds)]
    ensemble_scores = np.mean([rows.target.scores(of_fold / temperature) for of_fold in logits], axis=0)
    write_predictions(output / name, rows, np.log(ensemble_scores).astype(np.float32))
    per_model = [evaluate(rows.target.scores(of_fold), rows, config.evaluation).metrics for of_fold in logits]
    ensemble = evaluate(ensemble_scores, rows, config.evaluation).metrics
    return {"ensemble": ensemble.to_json(), **FoldsSummary.of(per_model).to_json()}


def _baseline(rows: Dataset, assignment: np.ndarray, folds: int) -> dict[str, Any]:
    correct = 0.0
    for fold in range(folds):
        held_out = rows.take(np.flatnonzero(assignment == fold))
        accuracy = baseline.tfidf_accuracy(rows.take(np.flatnonzero(assignment != fold)), held_out)
        if accuracy is None:
            return {}
        correct += accuracy * len(held_out)
    return {"baseline": {"accuracy": correct / len(rows)}}
