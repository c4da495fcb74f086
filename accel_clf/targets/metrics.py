"""Classification metrics, by scikit-learn, as a declared type; no network, no files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from accel_clf.config.schema import METRICS
from accel_clf.core.errors import ConfigError
from accel_clf.targets import named_metrics
from accel_clf.targets.calibration import expected_calibration_error

LOWER_IS_BETTER = ("log_loss", "ece", *named_metrics.LOWER_IS_BETTER)
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
class ClassMetrics:
    """Metrics of one class; `rows` counts those that have it as their label."""

    precision: float
    recall: float
    f1: float
    rows: int


@dataclass(frozen=True)
class Metrics(Averages):
    """All metrics of a set of rows.

    Attributes:
        per_class: class name -> its metrics.
        confusion: [classes][classes], rows of each label (first index) and prediction (second).
        slices: slice name -> its averages; empty where rows have no slices.
    """

    per_class: dict[str, ClassMetrics]
    confusion: list[list[int]]
    slices: dict[str, Averages] = field(default_factory=dict)

    def never_predicted(self) -> list[str]:
        """Return the classes that are the label of some rows, and the prediction for none."""
        predictions = np.sum(self.confusion, axis=0)
        classes = zip(self.per_class.items(), predictions, strict=True)
        return [name for (name, metrics), count in classes if metrics.rows and not count]

    def to_json(self) -> dict[str, Any]:
        """Return what metrics.json holds: built-in metrics first, extra ones last."""
        built_in = {name: self.values[name] for name in METRICS if name in self.values}  # older runs have fewer
        content: dict[str, Any] = {"rows": self.rows, **built_in}
        content["per_class"] = {name: vars(metrics) for name, metrics in self.per_class.items()}
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
            per_class={name: ClassMetrics(**metrics) for name, metrics in content["per_class"].items()},
            confusion=content["confusion"],
            slices={
                name: Averages(part["rows"], {key: value for key, value in part.items() if key != "rows"})
                for name, part in content.get("slices", {}).items()
            },
        )


def classification_metrics(
    labels: np.ndarray,
    probabilities: np.ndarray,
    names: Sequence[str],
    slices: np.ndarray | None = None,
    slice_names: Sequence[str] = (),
    named: Sequence[str] = (),
) -> Metrics:
    """Compute the built-in metrics.

    Args:
        labels: int [rows], the right classes.
        probabilities: float [rows, classes].
        names: of the classes.
        slices: int [rows], the slice of each row; adds each slice's averages.
        slice_names: of the slices.
        named: those to compute beside the ones in config.METRICS, see `named_metrics`.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    every_class = np.arange(len(names))
    predicted = probabilities.argmax(axis=1)
    columns = precision_recall_fscore_support(labels, predicted, labels=every_class, zero_division=0.0)
    overall = average_metrics(labels, probabilities, names, named)
    return Metrics(
        rows=overall.rows,
        values=overall.values,
        per_class={
            name: ClassMetrics(float(precision), float(recall), float(f1), int(rows))
            for name, precision, recall, f1, rows in zip(names, *columns, strict=True)
        },
        confusion=confusion_matrix(labels, predicted, labels=every_class).tolist(),
        slices={}
        if slices is None
        else {
            slice_names[code]: average_metrics(labels[slices == code], probabilities[slices == code], names, named)
            for code in np.unique(slices)
        },
    )


def average_metrics(
    labels: np.ndarray, probabilities: np.ndarray, names: Sequence[str] = (), named: Sequence[str] = ()
) -> Averages:
    """Compute the metrics in config.METRICS, and the named ones; F1 averages over classes among labels or predictions.

    Args:
        labels: int [rows], the right classes.
        probabilities: float [rows, classes].
        names: of the classes.
        named: see `classification_metrics`.
    """
    from sklearn.metrics import accuracy_score, f1_score, log_loss

    predicted = probabilities.argmax(axis=1)
    present = np.union1d(labels, predicted)
    values = {
        "accuracy": accuracy_score(labels, predicted),
        "macro_f1": f1_score(labels, predicted, labels=present, average="macro", zero_division=0.0),
        "weighted_f1": f1_score(labels, predicted, labels=present, average="weighted", zero_division=0.0),
        "log_loss": log_loss(labels, probabilities, labels=np.arange(probabilities.shape[1])),
        "ece": expected_calibration_error(probabilities, labels),
    }
    values |= {name: named_metrics.named_metric(name, labels, probabilities, names) for name in named}
    return Averages(len(labels), {name: float(value) for name, value in values.items()})


def module_metrics(
    modules: Sequence[str], labels: np.ndarray, predicted: np.ndarray, scores: np.ndarray
) -> dict[str, float]:
    """Compute metrics of the `evaluate` library.

    Args:
        modules: names or paths of the library's modules.
        labels, predicted: int [rows].
        scores: float [rows, classes], for modules that ask for them; the second class's where they ask for one per row.

    Raises:
        ConfigError: one cannot be loaded, or compares something else.
    """
    if not modules:
        return {}
    import evaluate  # takes seconds: it imports all of transformers' pipelines

    values: dict[str, float] = {}
    for name in modules:
        try:
            module = evaluate.load(name, keep_in_memory=True)
            computed = module.compute(**_inputs(module.features, labels, predicted, scores))
        except (FileNotFoundError, ConnectionError, ImportError, ValueError, OSError) as error:
            raise ConfigError(
                f"evaluation.metrics: {name} cannot be used ({str(error).strip().splitlines()[0]})",
                "a metric of the `evaluate` library that compares labels or scores, by name or path",
                "its name needs the Hub; the path of a local copy does not",
            ) from None
        values |= {key: float(value) for key, value in computed.items() if np.ndim(value) == 0}
    return values


def _inputs(features: Any, labels: np.ndarray, predicted: np.ndarray, scores: np.ndarray) -> dict[str, np.ndarray]:
    """Return what a module of the `evaluate` library asks for: labels, or scores by the names that they have there."""
    features = features[0] if isinstance(features, list) else features
    inputs: dict[str, np.ndarray] = {}
    for name, feature in features.items():
        dtype = getattr(feature, "dtype", None)
        if name == "references":
            inputs[name] = labels
        elif not isinstance(dtype, str) or dtype == "list":
            inputs[name] = scores
        elif dtype.startswith("float") and name == "prediction_scores":
            inputs[name] = scores[:, 1]
        else:
            inputs[name] = predicted
    return inputs


@dataclass(frozen=True)
class MeanAndSpread:
    """Averages of several models.

    Attributes:
        mean: metric name -> mean over the models.
        spread: metric name -> standard deviation of the sample; 0 for one model.
    """

    mean: dict[str, float]
    spread: dict[str, float]

    @classmethod
    def of(cls, models: Sequence[Averages]) -> "MeanAndSpread":
        """Compute both for every metric of the first model."""
        values = {name: np.array([averages[name] for averages in models]) for name in models[0].values}
        return cls(
            {name: float(column.mean()) for name, column in values.items()},
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
