"""The metrics of a set of rows, as declared types; no network, no files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from accel_clf.config.metric_names import METRICS

LOWER_IS_BETTER = ("log_loss", "ece", "brier", "mae", "rmse")
_BUILT_IN = frozenset(name for names in METRICS.values() for name in names)
_STRUCTURE = ("rows", "per_class", "confusion", "slices")  # keys of a file with metrics that are no metric


@dataclass(frozen=True)
class Averages:
    """Metrics that are one number for a set of rows.

    Attributes:
        rows: how many there are.
        values: metric name -> value: those in config.METRICS, then extra ones.
    """

    rows: int
    values: dict[str, float]

    def __getitem__(self, name: str) -> float:
        return self.values[name]

    def to_json(self) -> dict[str, Any]:
        """Return what metrics.json holds."""
        return {"rows": self.rows, **self.values}


@dataclass(frozen=True)
class LabelMetrics:
    """Metrics of one label.

    Attributes:
        precision, recall, f1: 0 where they are not defined.
        rows: those that have the label.
        predicted: those that it is predicted for; None in runs of earlier versions.
        roc_auc, average_precision, ece: of the label's scores, where a text may have several labels; None where
            all rows have it or none has.
        threshold: the score from which it is given, where a text may have several.
    """

    precision: float
    recall: float
    f1: float
    rows: int
    predicted: int | None = None
    roc_auc: float | None = None
    average_precision: float | None = None
    ece: float | None = None
    threshold: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return what metrics.json holds."""
        return {name: value for name, value in vars(self).items() if value is not None}


# Rows of each label (first index) and prediction; of many labels {"entries": [[label, prediction, rows], ...]}.
Confusion = list[list[int]] | dict[str, Any]


@dataclass(frozen=True)
class Metrics(Averages):
    """All metrics of a set of rows.

    Attributes:
        per_class: label -> its metrics; empty where numbers are predicted.
        confusion: see `Confusion`; None where a text does not have one label.
        slices: slice name -> its averages; empty where rows have no slices.
    """

    per_class: dict[str, LabelMetrics] = field(default_factory=dict)
    confusion: Confusion | None = None
    slices: dict[str, Averages] = field(default_factory=dict)

    def never_predicted(self) -> list[str]:
        """Return the labels that some rows have, and that are predicted for none."""
        return [name for name, metrics in self.per_class.items() if metrics.rows and metrics.predicted == 0]

    def confusion_entries(self) -> np.ndarray | None:
        """Return the confusion matrix as int64 [entries, 3]: label, prediction, rows; None where it lacks rows."""
        if self.confusion is None:
            return None
        if isinstance(self.confusion, dict):
            entries = np.array(self.confusion["entries"], np.int64).reshape(-1, 3)
        else:
            matrix = np.array(self.confusion, np.int64)
            entries = np.concatenate([np.argwhere(matrix), matrix[matrix > 0][:, None]], axis=1)
        return entries if entries[:, 2].sum() == self.rows else None

    def to_json(self) -> dict[str, Any]:
        """Return what metrics.json holds: built-in metrics first, extra ones last."""
        built_in = {name: value for name, value in self.values.items() if name in _BUILT_IN}
        content: dict[str, Any] = {"rows": self.rows, **built_in}
        if self.per_class:
            content["per_class"] = {name: metrics.to_json() for name, metrics in self.per_class.items()}
        if self.confusion is not None:
            content["confusion"] = self.confusion
        if self.slices:
            content["slices"] = {name: averages.to_json() for name, averages in self.slices.items()}
        return content | self.values

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Metrics":
        """Read what `to_json` has written."""
        return cls(
            rows=content["rows"],
            values={name: value for name, value in content.items() if name not in _STRUCTURE},
            per_class={name: LabelMetrics(**metrics) for name, metrics in content.get("per_class", {}).items()},
            confusion=content.get("confusion"),
            slices={
                name: Averages(part["rows"], {key: value for key, value in part.items() if key != "rows"})
                for name, part in content.get("slices", {}).items()
            },
        )


@dataclass(frozen=True)
class MeanAndSpread:
    """Averages of several models.

    Attributes:
        mean: metric name -> mean over the models for whose rows it is defined; NaN where there is none.
        spread: metric name -> standard deviation of the sample; 0 for one model.
    """

    mean: dict[str, float]
    spread: dict[str, float]

    @classmethod
    def of(cls, models: Sequence[Averages]) -> "MeanAndSpread":
        """Compute both for every metric of the first model."""
        values = {name: np.array([averages[name] for averages in models]) for name in models[0].values}
        values = {name: column[~np.isnan(column)] for name, column in values.items()}
        return cls(
            {name: float(column.mean()) if len(column) else float("nan") for name, column in values.items()},
            {name: float(column.std(ddof=1)) if len(column) > 1 else 0.0 for name, column in values.items()},
        )


@dataclass(frozen=True)
class FoldsSummary:
    """The metrics of several folds' models: each, and their mean and spread, as a whole and by slice.

    Attributes:
        folds: each fold's.
        overall: over all folds.
        slices: slice name -> over the folds that have rows of it.
    """

    folds: tuple[Metrics, ...]
    overall: MeanAndSpread
    slices: dict[str, MeanAndSpread]

    @classmethod
    def of(cls, folds: Sequence[Metrics]) -> "FoldsSummary":
        """Summarize the folds, in their order."""
        names = sorted({name for metrics in folds for name in metrics.slices})
        slices = {name: [metrics.slices[name] for metrics in folds if name in metrics.slices] for name in names}
        return cls(tuple(folds), MeanAndSpread.of(folds), {name: MeanAndSpread.of(of) for name, of in slices.items()})

    def to_json(self) -> dict[str, Any]:
        """Return what metrics.json holds: "mean", "spread", "each" and, where there are any, "slices"."""
        each = []
        for fold, metrics in enumerate(self.folds):
            content: dict[str, Any] = {"fold": fold, "rows": metrics.rows, **metrics.values}
            if self.slices:
                content["slices"] = {name: averages.to_json() for name, averages in metrics.slices.items()}
            each.append(content)
        content = {**vars(self.overall), "each": each}
        return content | ({"slices": {name: vars(part) for name, part in self.slices.items()}} if self.slices else {})
