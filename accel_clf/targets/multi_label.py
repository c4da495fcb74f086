"""Any number of labels a text, each learned and scored by itself: binary cross-entropy, sigmoid, thresholds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from scipy.special import expit, logit

from accel_clf.config.metric_names import LABEL_METRICS, METRICS
from accel_clf.config.schema import DataConfig, TargetConfig
from accel_clf.core.errors import DataError
from accel_clf.targets import calibration, settings_checks
from accel_clf.targets.base import Cell, Suspects, Target
from accel_clf.targets.label_names import code_of, imbalance_warnings, name_warnings, ordered, rare_labels_expected
from accel_clf.targets.metrics import Averages, LabelMetrics, Metrics
from accel_clf.targets.objective import Objective

SEPARATOR = "|"  # in tables, where the settings have none
THRESHOLD = 0.5
NAMED = ("average_precision", "brier")


@dataclass(frozen=True)
class MultiLabel(Target):
    """A subset of the labels `names`; a label is a row of 0 and 1, which may be all 0.

    Attributes:
        thresholds: the score from which each label is given; empty for THRESHOLD.
        separator: of the labels of a text in tables.
    """

    thresholds: tuple[float, ...] = ()
    separator: str = SEPARATOR

    kind = "multi_label"
    problem_type = "multi_label_classification"
    default_metric = "mean_average_precision"
    main_metric = "micro_f1"
    learning_rate = 1e-4
    head_lr_multiplier = 10.0
    function = "sigmoid"
    label_type = np.int8
    has_score = False
    baseline_name = "one logistic regression a label"
    baseline_metrics = ("micro_f1", "macro_f1", "mean_average_precision")

    @classmethod
    def of_cells(cls, cells: Mapping[Cell, str], data: DataConfig, settings: TargetConfig) -> Self:
        separator = data.label_separator or SEPARATOR
        several_columns = len(data.label_columns) > 1
        names = data.label_columns if several_columns else ordered({name for cell in cells for name in cell})
        if ambiguous := [name for name in names if separator in name]:
            location = next((place for cell, place in cells.items() if ambiguous[0] in cell), "data.label")
            raise DataError(
                f"{location}: label {ambiguous[0]!r} holds {separator!r}, which separates labels in tables",
                "labels without it",
                "another --data.label_separator",
            )
        return cls(names, separator=separator)

    @classmethod
    def of_model(cls, names: tuple[str, ...], options: Mapping[str, Any]) -> Self:
        return cls(names, tuple(options.get("thresholds", ())), options.get("separator", SEPARATOR))

    def model_options(self) -> dict[str, Any]:
        return {"separator": self.separator} | ({"thresholds": list(self.thresholds)} if self.thresholds else {})

    @cached_property
    def _codes(self) -> dict[str, int]:
        return {name: code for code, name in enumerate(self.names)}

    @cached_property
    def cuts(self) -> np.ndarray:
        """The score from which each label is given: float64 [labels]."""
        return np.array(self.thresholds or (THRESHOLD,) * len(self.names))

    def encode(self, cell: Cell, location: str) -> np.ndarray:
        label = np.zeros(len(self.names), self.label_type)
        for name in cell:
            label[code_of(name, self._codes, location)] = 1
        return label

    def to_text(self, label: Any) -> str:
        return self.separator.join(self._names_of(label))

    def _names_of(self, label: np.ndarray) -> list[str]:
        return [self.names[code] for code in np.flatnonzero(label)]

    def check_labels(self, labels: np.ndarray, origin: str) -> None:
        if not self.names or not labels.any():
            raise DataError(f"{origin}: none of {len(labels)} rows has a label", "labels in some of them")

    def check_settings(self, settings: TargetConfig, metrics: Sequence[str]) -> None:
        settings_checks.no_order(settings, self.kind)
        settings_checks.metrics(metrics, (*METRICS[self.kind], *NAMED), self.names, self.kind)

    def objective(self, settings: TargetConfig, labels: np.ndarray) -> Objective:
        from accel_clf.targets.binary_losses import log_odds, multi_label_loss

        # As if there were one row more that has half of each label: no share is 0 or 1.
        shares = (labels.sum(axis=0, dtype=np.int64) + 0.5) / (len(labels) + 1)
        # Lin et al., 2017: a head that begins with even odds spends its first steps on getting down to rare labels.
        # Those of the last two losses have even odds by themselves.
        bias = None if settings.loss in ("weighted", "logit_adjusted") else log_odds(shares)
        return Objective(labels, -1, multi_label_loss(settings, shares), bias)

    def scores(self, logits: np.ndarray) -> np.ndarray:
        scores: np.ndarray = expit(logits.astype(np.float64))
        return scores

    def logits(self, scores: np.ndarray) -> np.ndarray:
        logits: np.ndarray = logit(scores)
        return logits

    def decide(self, scores: np.ndarray) -> np.ndarray:
        decided: np.ndarray = (scores >= self.cuts).astype(self.label_type)
        return decided

    def answer(self, scores: np.ndarray) -> dict[str, Any]:
        values = dict(zip(self.names, scores.tolist(), strict=True))
        return {"labels": self._names_of(self.decide(scores)), "scores": values}

    def ranked(self, scores: np.ndarray, count: int | None) -> list[list[dict[str, Any]]]:
        """Return the scores of each text, the highest first, and whether it has the label; those that it has always."""
        texts = []
        for of_text, decided in zip(scores, self.decide(scores), strict=True):
            order = np.argsort(-of_text, kind="stable")
            codes = [code for place, code in enumerate(order) if count is None or place < count or decided[code]]
            texts.append(
                [
                    {"label": self.names[code], "score": float(of_text[code]), "predicted": bool(decided[code])}
                    for code in codes
                ]
            )
        return texts

    def answer_text(self, answer: Mapping[str, Any]) -> str:
        return self.separator.join(answer["labels"])

    def _measure(self, labels: np.ndarray, scores: np.ndarray, decided: np.ndarray, named: Sequence[str]) -> Metrics:
        per_class = self._label_metrics(labels, scores, decided)
        averages = self._averages(labels, scores, decided, per_class, named)
        return Metrics(averages.rows, averages.values, per_class)

    def _label_metrics(self, labels: np.ndarray, scores: np.ndarray, decided: np.ndarray) -> dict[str, LabelMetrics]:
        from sklearn.metrics import average_precision_score, roc_auc_score

        both, rows, predicted = (counted.sum(axis=0, dtype=np.int64) for counted in (labels & decided, labels, decided))
        precision, recall = both / np.maximum(predicted, 1), both / np.maximum(rows, 1)
        f1 = 2 * both / np.maximum(rows + predicted, 1)
        metrics = {}
        for code, name in enumerate(self.names):
            has_both = 0 < rows[code] < len(labels)
            of_label = (labels[:, code], scores[:, code])
            metrics[name] = LabelMetrics(
                float(precision[code]),
                float(recall[code]),
                float(f1[code]),
                int(rows[code]),
                int(predicted[code]),
                float(roc_auc_score(*of_label)) if has_both else None,
                float(average_precision_score(*of_label)) if has_both else None,
                calibration.calibration_error(scores[:, code], labels[:, code] == 1),
                float(self.cuts[code]),
            )
        return metrics

    def _averages(
        self,
        labels: np.ndarray,
        scores: np.ndarray,
        decided: np.ndarray,
        per_class: Mapping[str, LabelMetrics],
        named: Sequence[str],
    ) -> Averages:
        """Compute averages; those over labels are over labels that rows have or, of F1, that are predicted."""
        both, either = (labels & decided).sum(axis=1), labels.sum(axis=1) + decided.sum(axis=1)
        f1_of_rows = np.where(either > 0, 2 * both / np.maximum(either, 1), 1.0)  # nothing, rightly: all is right
        clipped = np.clip(scores, np.finfo(np.float64).eps, 1 - np.finfo(np.float64).eps)
        values = {
            "micro_f1": 2 * both.sum() / max(1, either.sum()),
            "macro_f1": _mean([of.f1 for of in per_class.values() if of.rows or of.predicted]),
            "samples_f1": f1_of_rows.mean(),
            "subset_accuracy": (labels == decided).all(axis=1).mean(),
            "mean_average_precision": _mean([of.average_precision for of in per_class.values()]),
            "roc_auc": _mean([of.roc_auc for of in per_class.values()]),
            "log_loss": -np.log(np.where(labels > 0, clipped, 1 - clipped)).mean(),
            "ece": _mean([of.ece for of in per_class.values()]),
        }
        for name in named:
            metric, _, label = name.partition(":")
            if metric in LABEL_METRICS:
                values[name] = getattr(per_class[label], metric)
            elif metric == "average_precision":
                values[name] = values["mean_average_precision"]
            elif metric == "brier":
                values[name] = np.square(scores - labels).mean()
        return Averages(len(labels), {name: float(value) for name, value in values.items()})

    def warnings(self, labels: np.ndarray, loss: str, metric: str) -> list[str]:
        counts = labels.sum(axis=0, dtype=np.int64)
        of_names = name_warnings(counts, self.names)
        if missing := [name for name, count in zip(self.names, counts, strict=True) if not count]:
            return [
                *of_names,
                f"no training row has the label {missing[0]!r}"
                + (f", nor {len(missing) - 1} others" * (len(missing) > 1)),
            ]
        blind = {"micro_f1": "macro_f1", "subset_accuracy": "macro_f1", "samples_f1": "macro_f1"}
        return of_names + imbalance_warnings(counts, self.names, loss, metric, blind)

    def describe(self) -> str:
        return f"{len(self.names)} labels, any number of them a text"

    def strata(self, labels: np.ndarray) -> np.ndarray:
        return labels

    def fit_temperature(self, logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> float:
        return calibration.fit_binary_temperature(logits, labels == 1, np.ones(labels.shape, bool), weights)

    def calibration_errors(
        self, labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None
    ) -> dict[str, float]:
        of_labels = [
            calibration.calibration_error(scores[:, code], labels[:, code] == 1, weights)
            for code in range(len(self.names))
        ]
        return {
            "expected_calibration_error": float(np.mean(of_labels)),
            "brier": float(np.average(np.square(scores - labels).mean(axis=1), weights=weights)),
        }

    def with_thresholds(self, labels: np.ndarray, scores: np.ndarray) -> Self:
        cuts = tuple(best_cut(labels[:, code], scores[:, code]) for code in range(len(self.names)))
        return replace(self, thresholds=cuts)

    def at_thresholds(self, thresholds: Mapping[str, float]) -> Self:
        return replace(self, thresholds=tuple(thresholds[name] for name in self.names))

    def thresholds_by_name(self) -> dict[str, float]:
        return dict(zip(self.names, self.thresholds, strict=True)) if self.thresholds else {}

    def suspects(self, labels: np.ndarray, scores: np.ndarray) -> Suspects:
        """Find rows with a label that is doubted, by confident learning of each label (Northcutt et al., 2021)."""
        from cleanlab.multilabel_classification import get_label_quality_scores
        from cleanlab.multilabel_classification.filter import find_label_issues

        as_lists = [np.flatnonzero(row).tolist() for row in labels]
        with rare_labels_expected():
            is_issue = find_label_issues(as_lists, scores, n_jobs=1)  # it would fork a process that has threads
        quality = get_label_quality_scores(as_lists, scores)
        doubted = np.flatnonzero((self.decide(scores) != labels).any(axis=1))
        return Suspects(doubted[np.argsort(quality[doubted], kind="stable")], quality, is_issue)

    def baseline(self) -> Any:
        from sklearn.linear_model import LogisticRegression
        from sklearn.multiclass import OneVsRestClassifier

        return OneVsRestClassifier(LogisticRegression(max_iter=1000))

    def baseline_scores(self, estimator: Any, features: Any) -> np.ndarray:
        scores: np.ndarray = estimator.predict_proba(features)
        return scores


def best_cut(labels: np.ndarray, scores: np.ndarray) -> float:
    """Find the score from which a label is to be given, for the best F1; THRESHOLD where no row has it.

    Args:
        labels: 0 or 1 [rows].
        scores: float [rows].

    Returns:
        A number between the lowest score that is to be answered and the next below.
    """
    if not labels.any():
        return THRESHOLD
    order = np.argsort(-scores, kind="stable")
    descending, hits = scores[order], labels[order].cumsum()
    f1 = 2 * hits / (np.arange(1, len(scores) + 1) + hits[-1])
    f1[:-1][descending[:-1] == descending[1:]] = -1  # between equal scores there is no cut
    last = int(f1.argmax())
    below = descending[last + 1] if last + 1 < len(scores) else 0.0
    return float((descending[last] + below) / 2)


def _mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else float("nan")
