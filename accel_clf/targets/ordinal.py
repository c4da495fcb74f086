"""One label of an order a text: steps from each label to the next, learned by their log-odds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.special import expit

from accel_clf.config.metric_names import METRICS, NAMED_METRICS
from accel_clf.config.schema import DataConfig, TargetConfig
from accel_clf.core.errors import DataError
from accel_clf.targets import calibration, settings_checks
from accel_clf.targets.base import Cell, Suspects
from accel_clf.targets.classification import average_metrics
from accel_clf.targets.label_names import imbalance_warnings, listed, name_warnings
from accel_clf.targets.metrics import Averages
from accel_clf.targets.objective import Objective
from accel_clf.targets.one_label import OneLabel


@dataclass(frozen=True)
class Ordinal(OneLabel):
    """One of the labels `names`, the lowest first; a label is its index there, an int."""

    kind = "ordinal"
    # Transformers has no name for it. Its pipelines give the share of texts that go on, of those that reach a step.
    problem_type = "multi_label_classification"
    default_metric = "quadratic_kappa"
    main_metric = "quadratic_kappa"
    function = ""
    baseline_metrics = ("accuracy", "quadratic_kappa", "mae")

    @classmethod
    def of_cells(cls, cells: Mapping[Cell, str], data: DataConfig, settings: TargetConfig) -> Self:
        if settings.order:
            return cls(settings.order)
        numbers: dict[str, float] = {}
        for cell, location in cells.items():
            try:
                numbers[str(cell)] = float(str(cell))
            except ValueError:
                raise DataError(
                    f"{location}: the label is {cell!r}, and the target is ordinal",
                    "numbers, or labels whose order is set",
                    f"--target.order for each label, the lowest first: {listed([str(cell) for cell in cells])}",
                ) from None
        return cls(tuple(sorted(numbers, key=lambda name: numbers[name])))

    @classmethod
    def of_model(cls, names: tuple[str, ...], options: Mapping[str, Any]) -> Self:
        return cls(tuple(options["labels"]))

    def model_options(self) -> dict[str, Any]:
        return {"labels": list(self.names)}

    @property
    def output_names(self) -> tuple[str, ...]:
        return tuple(f"above {name}" for name in self.names[:-1])

    def check_settings(self, settings: TargetConfig, metrics: Sequence[str]) -> None:
        settings_checks.no_thresholds(settings, self.kind)
        settings_checks.loss_is(settings, ("auto", "plain", "weighted", "focal"), self.kind)
        settings_checks.metrics(metrics, (*METRICS[self.kind], *NAMED_METRICS), self.names, self.kind)

    def objective(self, settings: TargetConfig, labels: np.ndarray) -> Objective:
        from accel_clf.targets.binary_losses import continuation_loss, log_odds

        counts = np.bincount(labels, minlength=len(self.names))
        reached = counts[::-1].cumsum()[::-1]  # rows of a label or a higher one
        goes_on = (reached[1:] + 0.5) / (reached[:-1] + 1)  # as if there were one row more, of half of each
        loss = continuation_loss(settings, counts)
        return Objective(labels.astype(np.int64), -1, loss, None if settings.loss == "weighted" else log_odds(goes_on))

    def scores(self, logits: np.ndarray) -> np.ndarray:
        """Compute the probability of each label: that of going on so far, and no further."""
        goes_on = expit(logits.astype(np.float64))
        ones = np.ones((*logits.shape[:-1], 1))
        at_least = np.concatenate([ones, np.cumprod(goes_on, axis=-1)], axis=-1)
        scores: np.ndarray = at_least * np.concatenate([1 - goes_on, ones], axis=-1)
        return scores

    def logits(self, scores: np.ndarray) -> np.ndarray:
        at_least = scores[..., ::-1].cumsum(axis=-1)[..., ::-1]
        logits: np.ndarray = np.log(at_least[..., 1:]) - np.log(scores[..., :-1])
        return logits

    def decide(self, scores: np.ndarray) -> np.ndarray:
        """Return the median: the label that the right one is as likely above as below."""
        below: np.ndarray = (scores.cumsum(axis=-1)[..., :-1] < 0.5).sum(axis=-1)
        return below

    def _averages(self, labels: np.ndarray, scores: np.ndarray, decided: np.ndarray, named: Sequence[str]) -> Averages:
        distance = np.abs(labels - decided)
        as_classes = average_metrics(labels, scores, self.names, named, decided).values
        values = as_classes | {
            "accuracy_within_one": (distance <= 1).mean(),
            "quadratic_kappa": quadratic_kappa(labels, decided),
            "mae": distance.mean(),
        }
        kept = (*METRICS[self.kind], *named)
        return Averages(len(labels), {name: float(values[name]) for name in dict.fromkeys(kept)})

    def warnings(self, labels: np.ndarray, loss: str, metric: str) -> list[str]:
        counts = np.bincount(labels, minlength=len(self.names))
        if missing := [name for name, count in zip(self.names, counts, strict=True) if not count]:
            return [*name_warnings(counts, self.names), f"no training row has the label {missing[0]!r}"]
        blind = {"accuracy": "quadratic_kappa", "accuracy_within_one": "quadratic_kappa"}
        return name_warnings(counts, self.names) + [
            message.replace("logit_adjusted (or weighted, focal)", "weighted (or focal)")
            for message in imbalance_warnings(counts, self.names, loss, metric, blind)
        ]

    def describe(self) -> str:
        return f"{len(self.names)} labels in order, {self.names[0]!r} to {self.names[-1]!r}"

    def fit_temperature(self, logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> float:
        step = np.arange(logits.shape[1])
        return calibration.fit_binary_temperature(logits, labels[:, None] > step, labels[:, None] >= step, weights)

    def suspects(self, labels: np.ndarray, scores: np.ndarray) -> Suspects:
        """Find rows whose label is at least two steps from the one that is predicted, by confident learning."""
        return self.suspects_among(np.abs(self.decide(scores) - labels) > 1, labels, scores)


def quadratic_kappa(labels: np.ndarray, decided: np.ndarray) -> float:
    """Compute Cohen's kappa with quadratic weights (Cohen, 1968); 0 where all labels and predictions are the same."""
    from sklearn.metrics import cohen_kappa_score

    if len(np.union1d(labels, decided)) == 1:
        return 0.0
    highest = int(max(labels.max(), decided.max()))
    return float(cohen_kappa_score(labels, decided, labels=np.arange(highest + 1), weights="quadratic"))
