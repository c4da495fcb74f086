"""Metrics of many resamples at once, as functions of how often each row counts: those of `Target.metrics`.

Nearly all metrics are made of a few sums over rows: of right rows, of rows by label, of rows up to a score. A resample
counts some rows several times and others not at all, so the sums of all resamples are one product of matrices.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from accel_clf.config.metric_names import LABEL_METRICS, METRICS, NAMED_METRICS
from accel_clf.targets.base import Target

# What is compared of a kind of target. The expected calibration error is left out: that of a resample is larger than
# that of its rows, always, so resamples say nothing of how sure it is.
COMPARED = {kind: tuple(name for name in names if name != "ece") for kind, names in METRICS.items()}
OF_SCORES = ("log_loss", "brier", "roc_auc", "average_precision", "mean_average_precision")  # not of answers alone
EPSILON = np.finfo(np.float64).eps

Weights = np.ndarray  # float [rows, resamples]
Values = np.ndarray  # float [resamples]
Statistic = Callable[[Weights], Values]


@dataclass(frozen=True, eq=False)
class Answers:
    """What a model has answered for labelled rows.

    Attributes:
        target: what it predicts.
        labels: the right ones, as the target encodes them.
        scores: float64 [rows, scores].
        decided: the labels that it predicts.
    """

    target: Target
    labels: np.ndarray
    scores: np.ndarray
    decided: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: np.ndarray) -> "Answers":
        """Select rows by their indices, or by bool [rows]."""
        return Answers(self.target, self.labels[rows], self.scores[rows], self.decided[rows])

    def is_right(self) -> np.ndarray:
        """Return which rows are right, bool [rows]; of several labels, those with all of them."""
        right = np.asarray(self.labels == self.decided)
        return np.asarray(right if right.ndim == 1 else right.all(axis=1))


def known_metrics(target: Target) -> tuple[str, ...]:
    """Return the names of the metrics that there are of a target; those of a label are "f1:LABEL" and so on."""
    kind = target.kind
    names = [name for name in METRICS[kind] if name != "ece"]
    if kind in ("single_label", "ordinal"):
        names += NAMED_METRICS
    elif kind == "multi_label":
        names += ["average_precision", "brier"]
    of_labels = [f"{name}:{label}" for name in LABEL_METRICS for label in target.names] if kind != "regression" else []
    return tuple(dict.fromkeys([*names, *of_labels]))


def statistics(answers: Answers, names: Sequence[str]) -> Callable[[Weights], dict[str, Values]]:
    """Return a function that computes metrics of resamples.

    Args:
        answers: of all rows.
        names: of the metrics, by `known_metrics`.

    Returns:
        Takes how often each row counts in each resample; gives each metric's values, NaN where one is not defined.
    """
    make = {"multi_label": _of_several_labels, "regression": _of_numbers}.get(answers.target.kind, _of_one_label)
    return make(answers, names)


def label_f1(answers: Answers) -> Callable[[Weights], np.ndarray]:
    """Return a function that computes the F1 of each label in resamples: float [labels, resamples].

    It is NaN in resamples without a row that has the label or is predicted to have it.
    """
    count = _label_counts(answers)

    def f1(weights: Weights) -> np.ndarray:
        both, rows, predicted = count(weights)
        return _ratio(2 * both, rows + predicted)

    return f1


def _ratio(part: np.ndarray, whole: np.ndarray, otherwise: float = np.nan) -> np.ndarray:
    """Divide; where there is nothing to divide by the value is `otherwise`."""
    return np.where(whole > 0, part / np.where(whole > 0, whole, 1.0), otherwise)


def _label_counts(answers: Answers) -> Callable[[Weights], tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Count, for each label, the rows that have it and are predicted to, that have it, and that are predicted to."""
    if answers.labels.ndim == 2:
        has, gets = answers.labels.T.astype(bool), answers.decided.T.astype(bool)
    else:
        codes = np.arange(len(answers.target.names))[:, None]
        has, gets = answers.labels == codes, answers.decided == codes
    tables = [csr_matrix(table.astype(np.float64)) for table in (has & gets, has, gets)]

    def count(weights: Weights) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        both, rows, predicted = (table @ weights for table in tables)
        return both, rows, predicted

    return count


def _means(columns: Mapping[str, np.ndarray]) -> Statistic:
    """Return a function that averages columns, float [rows] each: float [columns, resamples]."""
    table = np.stack([column.astype(np.float64) for column in columns.values()])
    return lambda weights: table @ weights / weights.sum(axis=0)


def _of_labels(name: str, counts: tuple[np.ndarray, ...], names: Sequence[str]) -> Values:
    """Compute the precision, recall or F1 of one label; 0 where it is not defined, as reports have it."""
    metric, _, label = name.partition(":")
    both, rows, predicted = (count[names.index(label)] for count in counts)
    whole = {"precision": predicted, "recall": rows, "f1": (rows + predicted) / 2}[metric]
    return _ratio(both, whole, 0.0)


def _mean_over_labels(values: np.ndarray, counted: np.ndarray) -> Values:
    """Average over those labels that count in a resample; NaN where none does."""
    return _ratio(np.where(counted, values, 0.0).sum(axis=0), counted.sum(axis=0))


def _of_one_label(answers: Answers, names: Sequence[str]) -> Callable[[Weights], dict[str, Values]]:
    labels, decided, scores = answers.labels.astype(np.int64), answers.decided.astype(np.int64), answers.scores
    classes, rows = scores.shape[1], np.arange(len(labels))
    distance = np.abs(labels - decided)
    right = np.zeros(scores.shape)
    right[rows, labels] = 1.0
    of_rows = {
        "accuracy": labels == decided,
        "accuracy_within_one": distance <= 1,
        "mae": distance,
        "log_loss": -np.log(np.clip(scores[rows, labels], EPSILON, 1 - EPSILON)),
        "brier": np.square(scores - right).sum(axis=1) / (2 if classes == 2 else 1),
        # Of which kappa is made; codes are small, so their squares are exact.
        "squared distance": np.square(distance),
        "label": labels,
        "decided": decided,
        "squared label": np.square(labels),
        "squared decided": np.square(decided),
    }
    mean, count = _means(of_rows), _label_counts(answers)
    codes = [1] if classes == 2 else range(classes)
    rankings = _rankings([labels == code for code in codes], [scores[:, code] for code in codes], names)

    def compute(weights: Weights) -> dict[str, Values]:
        means = dict(zip(of_rows, mean(weights), strict=True))
        both, of_label, of_decided = counts = count(weights)
        f1, all_rows = _ratio(2 * both, of_label + of_decided, 0.0), of_label.sum(axis=0)
        values = means | {
            "macro_f1": _mean_over_labels(f1, of_label + of_decided > 0),
            "weighted_f1": (f1 * of_label).sum(axis=0) / all_rows,
            "balanced_accuracy": _mean_over_labels(_ratio(both, of_label, 0.0), of_label > 0),
            "mcc": _matthews(both, of_label, of_decided, all_rows),
            "quadratic_kappa": _kappa(means),
            **rankings(weights),
        }
        values |= {name: _of_labels(name, counts, answers.target.names) for name in names if ":" in name}
        return {name: values[name] for name in names}

    return compute


def _matthews(both: np.ndarray, of_label: np.ndarray, of_decided: np.ndarray, rows: np.ndarray) -> Values:
    """Compute Matthews' correlation coefficient from counts [labels, resamples]; 0 where one side is constant."""
    covariance = both.sum(axis=0) * rows - (of_label * of_decided).sum(axis=0)
    squares = [rows**2 - np.square(counts).sum(axis=0) for counts in (of_label, of_decided)]
    return _ratio(covariance, np.sqrt(squares[0] * squares[1]), 0.0)


def _kappa(means: Mapping[str, np.ndarray]) -> Values:
    """Compute Cohen's kappa with quadratic weights; 0 where all labels and predictions are the same."""
    by_chance = means["squared label"] + means["squared decided"] - 2 * means["label"] * means["decided"]
    return 1 - _ratio(means["squared distance"], by_chance, 1.0)


def _of_several_labels(answers: Answers, names: Sequence[str]) -> Callable[[Weights], dict[str, Values]]:
    labels, decided, scores = answers.labels, answers.decided, answers.scores
    both, either = (labels & decided).sum(axis=1), labels.sum(axis=1) + decided.sum(axis=1)
    clipped = np.clip(scores, EPSILON, 1 - EPSILON)
    of_rows = {
        "samples_f1": np.where(either > 0, 2 * both / np.maximum(either, 1), 1.0),
        "subset_accuracy": answers.is_right(),
        "log_loss": -np.log(np.where(labels > 0, clipped, 1 - clipped)).mean(axis=1),
        "brier": np.square(scores - labels).mean(axis=1),
    }
    mean, count = _means(of_rows), _label_counts(answers)
    rankings = _rankings(list((labels > 0).T), list(scores.T), names)

    def compute(weights: Weights) -> dict[str, Values]:
        both, of_label, of_decided = counts = count(weights)
        f1 = _ratio(2 * both, of_label + of_decided, 0.0)
        ranked = rankings(weights)
        if "average_precision" in ranked:
            ranked["mean_average_precision"] = ranked["average_precision"]
        values = dict(zip(of_rows, mean(weights), strict=True)) | {
            "micro_f1": _ratio(2 * both.sum(axis=0), (of_label + of_decided).sum(axis=0), 0.0),
            "macro_f1": _mean_over_labels(f1, of_label + of_decided > 0),
            **ranked,
        }
        values |= {name: _of_labels(name, counts, answers.target.names) for name in names if ":" in name}
        return {name: values[name] for name in names}

    return compute


def _rankings(
    positives: Sequence[np.ndarray], scores: Sequence[np.ndarray], names: Sequence[str]
) -> Callable[[Weights], dict[str, Values]]:
    """Return a function that averages the areas under each label's curves, of labels that some rows have, not all.

    Args:
        positives: bool [rows] for each label.
        scores: float [rows] for each label.
        names: of the metrics that are computed; nothing is where no area is among them.
    """
    if not {"roc_auc", "average_precision", "mean_average_precision"} & set(names):
        return lambda weights: {}
    of_labels = [_Ranking(*pair) for pair in zip(positives, scores, strict=True) if 0 < pair[0].sum() < len(pair[0])]

    def compute(weights: Weights) -> dict[str, Values]:
        shape = (len(of_labels), weights.shape[1])
        precision, area = np.full(shape, np.nan), np.full(shape, np.nan)
        for index, ranking in enumerate(of_labels):
            precision[index], area[index] = ranking.areas(weights)
        defined = np.isfinite(area)
        return {
            "average_precision": _mean_over_labels(precision, defined),
            "roc_auc": _mean_over_labels(area, defined),
        }

    return compute


class _Ranking:
    """Rows in the order of a label's scores, in steps: each ends with rows of one score, some of which have the label.

    Args:
        positive: bool [rows], which have the label.
        scores: float [rows].
    """

    def __init__(self, positive: np.ndarray, scores: np.ndarray) -> None:
        steps = np.unique(-scores[positive])
        step_of_row = np.searchsorted(steps, -scores)  # the first step whose score is not above the row's
        in_step = step_of_row < len(steps)
        ties = in_step & (-scores == steps[np.minimum(step_of_row, len(steps) - 1)])

        def table(chosen: np.ndarray) -> Any:
            rows = np.flatnonzero(chosen)
            return csr_matrix((np.ones(len(rows)), (step_of_row[rows], rows)), (len(steps), len(scores)))

        self.with_label, self.tied = table(positive), table(ties & ~positive)
        self.without, self.all_without = table(in_step & ~positive), (~positive).astype(np.float64)

    def areas(self, weights: Weights) -> tuple[Values, Values]:
        """Compute average precision and the area under the ROC curve; NaN where all rows have the label, or none."""
        with_label, tied = self.with_label @ weights, self.tied @ weights
        above = np.cumsum(self.without @ weights, axis=0)  # and in the step
        reached = np.cumsum(with_label, axis=0)
        rows, others = with_label.sum(axis=0), self.all_without @ weights
        precision = _ratio((with_label * _ratio(reached, reached + above, 0.0)).sum(axis=0), rows)
        area = _ratio((with_label * (others - above + tied / 2)).sum(axis=0), rows * others)
        return np.where(np.isfinite(area), precision, np.nan), area


def _of_numbers(answers: Answers, names: Sequence[str]) -> Callable[[Weights], dict[str, Values]]:
    labels, decided = answers.labels, answers.decided
    errors = decided - labels
    of_rows = {"mae": np.abs(errors), "squared error": np.square(errors)}
    mean = _means(of_rows)
    ranks = [_Ranks(values) for values in (labels, decided)] if "spearman" in names else []

    def compute(weights: Weights) -> dict[str, Values]:
        means = dict(zip(of_rows, mean(weights), strict=True))
        values = means | {"rmse": np.sqrt(means["squared error"])}
        if "pearson" in names:
            values["pearson"] = _correlation(labels[:, None], decided[:, None], weights)
        if ranks:
            values["spearman"] = _correlation(ranks[0].of(weights), ranks[1].of(weights), weights)
        return {name: values[name] for name in names}

    return compute


class _Ranks:
    """The ranks of numbers, the same for equal ones: the mean of those that they have together."""

    def __init__(self, values: np.ndarray) -> None:
        distinct, self.codes = np.unique(values, return_inverse=True)
        rows = np.arange(len(values))
        self.table = csr_matrix((np.ones(len(values)), (self.codes, rows)), (len(distinct), len(values)))

    def of(self, weights: Weights) -> np.ndarray:
        """Rank the rows of each resample: float [rows, resamples]."""
        counts = self.table @ weights
        ranks: np.ndarray = (np.cumsum(counts, axis=0) - (counts - 1) / 2)[self.codes]
        return ranks


def _correlation(first: np.ndarray, second: np.ndarray, weights: Weights) -> Values:
    """Compute Pearson's correlation in each resample; 0 where one side is constant."""
    total = weights.sum(axis=0)
    first, second = (side - (side * weights).sum(axis=0) / total for side in (first, second))
    covariance = (first * second * weights).sum(axis=0)
    variances = [(side * side * weights).sum(axis=0) for side in (first, second)]
    scale = np.sqrt(variances[0] * variances[1])
    correlation: Values = np.clip(_ratio(covariance, scale, 0.0), -1.0, 1.0)
    return correlation
