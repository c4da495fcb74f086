"""What a cross-validation's folds say together: out-of-fold answers, metrics, temperature, suspect labels, ensemble."""

import csv
from collections.abc import Iterator, Mapping, Sequence
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
from accel_clf.run_folder.predictions import ANSWERS, read_logits, write_predictions
from accel_clf.targets import calibration
from accel_clf.targets.scores import probabilities
from accel_clf.training import baseline


def collect(config: Config, found: Splits, assignment: np.ndarray) -> dict[str, Any]:
    """Read the answers of all folds, and write down what they are worth.

    Writes out_of_fold.csv, suspect_labels.csv, predictions.csv where there is a test set, and metrics.json, the last.

    Args:
        config: the cross-validation's settings.
        found: its rows, `train` being all that were dealt out.
        assignment: int64 [rows], the fold that holds each of them out.

    Returns:
        What is in metrics.json: nothing that depends on when, where or how often the folds were trained.

    Raises:
        UserError: a fold's answers are not those to its rows.
    """
    output, rows, settings = Path(config.output), found.train, config.evaluation
    logits = np.empty((len(rows), len(rows.label_names)), np.float32)
    each = []
    for fold in range(config.folds):
        own = np.flatnonzero(assignment == fold)
        held_out = rows.take(own)
        logits[own] = read_logits(output / fold_name(fold) / ANSWERS["held_out"], held_out)
        each.append(evaluate(probabilities(logits[own]), held_out, settings).metrics)
    labels = rows.labels.codes
    temperature = calibration.fit_temperature(logits, labels)
    more: dict[str, Sequence[Any]] = {"fold": assignment.tolist()}
    if rows.slices:
        more["slice"] = [rows.slices.names[code] for code in rows.slices.codes]
    write_predictions(output / "out_of_fold.csv", rows, logits, more)
    results: dict[str, Any] = {
        "folds": config.folds,
        **over_folds(each),
        "out_of_fold": evaluate(probabilities(logits), rows, settings).metrics,
        "calibration": _calibration(logits, labels, assignment, temperature),
        "suspect_labels": _write_suspects(output, rows, probabilities(logits / temperature), assignment),
    }
    if found.test:
        results["test"] = _test(config, found.test, temperature)
    if settings.baseline:
        log("fitting TF-IDF with logistic regression on the same folds")
        results |= _baseline(rows, assignment, config.folds)
    write_json(output / "metrics.json", results)
    return results


def over_folds(each: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean and spread of the folds' metrics, as a whole and by slice, and each fold's.

    Args:
        each: of each fold, as metrics.classification gives them.

    Returns:
        "mean" and "spread" (the sample's standard deviation) by metric, "slices" with both of each slice over the folds
        that have rows of it, and "each".
    """
    names = sorted({name for metrics in each for name in metrics.get("slices", {})})
    slices = {name: [metrics["slices"][name] for metrics in each if name in metrics["slices"]] for name in names}
    found = {
        **_mean_and_spread(each),
        "each": [
            {"fold": fold, "rows": metrics["rows"], **_numbers(metrics)}
            | ({"slices": metrics["slices"]} if names else {})
            for fold, metrics in enumerate(each)
        ],
    }
    return found | ({"slices": {name: _mean_and_spread(of) for name, of in slices.items()}} if names else {})


def _mean_and_spread(each: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    values = {name: np.array([metrics[name] for metrics in each]) for name in _numbers(each[0])}
    return {
        "mean": {name: float(found.mean()) for name, found in values.items()},
        "spread": {name: float(found.std(ddof=1)) if len(found) > 1 else 0.0 for name, found in values.items()},
    }


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if isinstance(value, float)}


def _calibration(logits: np.ndarray, labels: np.ndarray, folds: np.ndarray, temperature: float) -> dict[str, Any]:
    """The temperature, and what such a one does to rows that it was not fitted on."""
    before, after = probabilities(logits), calibration.cross_fitted(logits, labels, folds)
    return {
        "temperature": temperature,
        "expected_calibration_error": {
            "before": calibration.expected_calibration_error(before, labels),
            "after": calibration.expected_calibration_error(after, labels),
        },
    }


def _write_suspects(output: Path, rows: Dataset, sure: np.ndarray, folds: np.ndarray) -> dict[str, int]:
    """Write down the rows whose label the models that have not seen them doubt, the most doubtful first.

    A row is listed where another label is likelier. `issue` tells what confident learning takes for an error (Northcutt
    et al., 2021, by cleanlab): likelier than other labels usually are, in that class.
    """
    from cleanlab.filter import find_label_issues  # takes seconds

    labels, names = rows.labels.codes, rows.label_names
    issues = find_label_issues(labels, sure, n_jobs=1)
    trust = sure[np.arange(len(labels)), labels]
    doubted = np.flatnonzero(sure.argmax(axis=1) != labels)
    doubted = doubted[np.argsort(trust[doubted], kind="stable")]
    texts = dict(_texts(rows, set(doubted.tolist())))
    with atomic_write(output / "suspect_labels.csv") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["row", "fold", "label", "predicted", "probability_of_label", "issue", "text"])
        for place in doubted.tolist():
            predicted = names[int(sure[place].argmax())]
            issue = str(bool(issues[place])).lower()
            told = [int(rows.ids[place]), int(folds[place]), names[labels[place]], predicted, float(trust[place])]
            writer.writerow([*told, issue, texts[place]])
    return {"listed": len(doubted), "issues": int(issues[doubted].sum())}


def _texts(rows: Dataset, places: set[int]) -> Iterator[tuple[int, str]]:
    return ((place, text) for place, text in enumerate(rows.texts()) if place in places)


def _test(config: Config, rows: Dataset, temperature: float) -> dict[str, Any]:
    """The test set by the ensemble, which is written down, and by the folds' models alone."""
    output = Path(config.output)
    name = ANSWERS["test"]
    logits = [read_logits(output / fold_name(fold) / name, rows) for fold in range(config.folds)]
    together = np.mean([probabilities(of_fold / temperature) for of_fold in logits], axis=0)
    write_predictions(output / name, rows, np.log(together).astype(np.float32))
    alone = [evaluate(probabilities(of_fold), rows, config.evaluation).metrics for of_fold in logits]
    return {"ensemble": evaluate(together, rows, config.evaluation).metrics, **over_folds(alone)}


def _baseline(rows: Dataset, folds: np.ndarray, count: int) -> dict[str, Any]:
    right = 0.0
    for fold in range(count):
        held_out = rows.take(np.flatnonzero(folds == fold))
        found = baseline.tfidf_accuracy(rows.take(np.flatnonzero(folds != fold)), held_out)
        if found is None:
            return {}
        right += found * len(held_out)
    return {"baseline": {"accuracy": right / len(rows)}}
