"""The seam between what is predicted and everything else: a kind of target is one subclass, in a file of its own."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from accel_clf.config.schema import DataConfig, TargetConfig
from accel_clf.targets.metrics import Averages, Metrics
from accel_clf.targets.objective import Objective

Cell = str | tuple[str, ...]  # what a row's label columns hold: a label, or the labels of a text that has several


class Suspects(NamedTuple):
    """Labels that a model doubts which was not trained on them.

    Attributes:
        rows: int64, those listed, the most doubtful first.
        probabilities: float [all rows], of the label that a row has.
        is_issue: bool [all rows], whether it is most likely wrong.
    """

    rows: np.ndarray
    probabilities: np.ndarray
    is_issue: np.ndarray


@dataclass(frozen=True)
class Target(ABC):
    """What is predicted of a text: how labels are encoded, learned, scored, decided and measured.

    Labels are arrays with a row for each text; what a row is, its kind says. torch is imported in objectives alone.

    Attributes:
        names: of the scores, in their order.
    """

    names: tuple[str, ...]
    kind: ClassVar[str]  # the setting target.type
    default_metric: ClassVar[str]  # that selects the best model
    main_metric: ClassVar[str]  # from 0 to 1, in which a loss of precision is told
    learning_rate: ClassVar[float] = 2e-5  # where the settings have none
    head_lr_multiplier: ClassVar[float] = 1.0  # likewise
    function: ClassVar[str]  # by which transformers' pipelines make scores of outputs; "" where they know none
    label_type: ClassVar[type[np.generic]]  # of arrays of labels
    has_score: ClassVar[bool]  # whether an answer is one label, whose score is its own
    extra_columns: ClassVar[tuple[str, ...]] = ()  # of tables of answers
    baseline_name: ClassVar[str]  # of the linear model on words
    baseline_metrics: ClassVar[tuple[str, ...]]  # that are told of it

    @classmethod
    @abstractmethod
    def of_cells(cls, cells: Mapping[Cell, str], data: DataConfig, settings: TargetConfig) -> Self:
        """Make the target of a data set.

        Args:
            cells: the different cells of its label column, each with its first location, for messages.
            data, settings: that decide how they are read.

        Raises:
            DataError: a cell has no label of this kind.
        """

    @classmethod
    def of_model(cls, names: tuple[str, ...], options: Mapping[str, Any]) -> Self:
        """Make the target of a trained model.

        Args:
            names: its outputs'.
            options: by `model_options`.
        """
        return cls(names)

    @abstractmethod
    def encode(self, cell: Cell, location: str) -> Any:
        """Encode the label of a row.

        Args:
            cell: that holds it.
            location: of the cell, for messages.

        Raises:
            DataError: it has no label that the model knows.
        """

    @abstractmethod
    def to_text(self, label: Any) -> str:
        """Write a label as tables have it."""

    @property
    def output_names(self) -> tuple[str, ...]:
        """The names of the model's outputs, from which scores are computed."""
        return self.names

    @property
    def score_names(self) -> tuple[str, ...]:
        """The names of the scores that tables have."""
        return self.names

    def hf_config(self) -> dict[str, Any]:
        """Return what a model's config.json says of its outputs."""
        return {
            "problem_type": self.problem_type,
            "id2label": dict(enumerate(self.output_names)),
            "label2id": {name: code for code, name in enumerate(self.output_names)},
        }

    @property
    @abstractmethod
    def problem_type(self) -> str:
        """Transformers' name for this kind of target, by which its pipelines go."""

    def model_options(self) -> dict[str, Any]:
        """Return what else config.json must say, so that a trained model's target can be made again."""
        return {}

    @abstractmethod
    def check_labels(self, labels: np.ndarray, origin: str) -> None:
        """Check that there is something to learn.

        Args:
            labels: of all rows to train on.
            origin: the name of their source, for messages.

        Raises:
            DataError: there is not.
        """

    @abstractmethod
    def check_settings(self, settings: TargetConfig, metrics: Sequence[str]) -> None:
        """Check that settings fit this kind of target.

        Args:
            settings: how it is learned.
            metrics: the built-in ones that the settings name.

        Raises:
            ConfigError: they do not.
        """

    @abstractmethod
    def objective(self, settings: TargetConfig, labels: np.ndarray) -> Objective:
        """Return what a model is trained towards.

        Args:
            settings: which loss, and more.
            labels: of the training rows, by whose shares some losses go.
        """

    @abstractmethod
    def scores(self, logits: np.ndarray) -> np.ndarray:
        """Compute scores, float64 [..., scores], from logits, float [..., outputs]."""

    @abstractmethod
    def logits(self, scores: np.ndarray) -> np.ndarray:
        """Compute logits that have these scores, as of several models together, which have no logits of their own."""

    @abstractmethod
    def decide(self, scores: np.ndarray) -> np.ndarray:
        """Return the labels that scores [rows, scores] are for."""

    @abstractmethod
    def answer(self, scores: np.ndarray) -> dict[str, Any]:
        """Return the answer for one text as JSON has it.

        Args:
            scores: float64 [scores].
        """

    def ranked(self, scores: np.ndarray, count: int | None) -> list[list[dict[str, Any]]]:
        """Return the scores of each text by label, the highest first, in the form of transformers' pipelines.

        Args:
            scores: float64 [texts, scores].
            count: how many; None for all.
        """
        order = np.argsort(-scores, axis=1, kind="stable")[:, :count]
        return [
            [{"label": self.names[code], "score": float(of_text[code])} for code in codes]
            for of_text, codes in zip(scores, order, strict=True)
        ]

    @abstractmethod
    def answer_text(self, answer: Mapping[str, Any]) -> str:
        """Write what is predicted of a text as tables have it.

        Args:
            answer: by `answer`.
        """

    def extra_values(self, answer: Mapping[str, Any]) -> list[str]:
        """Return what tables have of an answer in `extra_columns`."""
        return []

    def metrics(
        self,
        labels: np.ndarray,
        scores: np.ndarray,
        slices: np.ndarray | None = None,
        slice_names: Sequence[str] = (),
        named: Sequence[str] = (),
        decided: np.ndarray | None = None,
    ) -> Metrics:
        """Compute the built-in metrics.

        Args:
            labels: the right ones.
            scores: float [rows, scores].
            slices: int [rows], the slice of each row; adds each slice's averages.
            slice_names: of the slices.
            named: those to compute beside the ones that there always are; see `check_settings`.
            decided: the labels that are predicted; None for those that `decide` returns.
        """
        decided = self.decide(scores) if decided is None else decided
        overall = self._measure(labels, scores, decided, named)
        if slices is None:
            return overall
        of_slices = {}
        for code in np.unique(slices):
            rows = slices == code
            part = self._measure(labels[rows], scores[rows], decided[rows], named)
            of_slices[slice_names[code]] = Averages(part.rows, part.values)
        return replace(overall, slices=of_slices)

    @abstractmethod
    def _measure(self, labels: np.ndarray, scores: np.ndarray, decided: np.ndarray, named: Sequence[str]) -> Metrics:
        """Compute the metrics of some rows."""

    @abstractmethod
    def warnings(self, labels: np.ndarray, loss: str, metric: str) -> list[str]:
        """Describe what is suspicious about the labels to train on, and what to try.

        Args:
            labels: of the training rows.
            loss: the setting target.loss.
            metric: the setting evaluation.metric.
        """

    def example_labels(self, labels: np.ndarray) -> np.ndarray:
        """Return a few labels that have one of each kind, to try metrics on."""
        return labels[np.unique(labels, axis=0, return_index=True)[1]]

    @abstractmethod
    def describe(self) -> str:
        """Say in a few words what is predicted."""

    @abstractmethod
    def strata(self, labels: np.ndarray) -> np.ndarray:
        """Return what splits and folds spread evenly: int [rows], or 0 and 1 [rows, labels]."""

    @property
    def strata_names(self) -> tuple[str, ...] | None:
        """The names of the strata, which are labels; None where they are not."""
        return self.names

    def calibration_weights(self, labels: np.ndarray, loss: str) -> np.ndarray | None:
        """Return what each row counts in calibration, float [rows], by the loss; None where all count the same.

        A loss that makes up for the labels' shares gives the probabilities of texts among which these are equal.
        """
        return None

    @abstractmethod
    def fit_temperature(self, logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> float:
        """Find the number to divide logits by that maximizes the likelihood of labels that were not learned from."""

    @abstractmethod
    def calibration_errors(
        self, labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None
    ) -> dict[str, float]:
        """Compute how far scores are from being probabilities: the expected calibration error, and Brier's score."""

    def with_thresholds(self, labels: np.ndarray, scores: np.ndarray) -> Self:
        """Fit the scores from which labels are given to rows that were not learned from; most kinds have none."""
        return self

    def at_thresholds(self, thresholds: Mapping[str, float]) -> Self:
        """Return the target with the scores from which labels are given: label -> threshold."""
        return self

    def thresholds_by_name(self) -> dict[str, float]:
        """Return the fitted scores from which labels are given; empty for kinds that have none."""
        return {}

    @abstractmethod
    def suspects(self, labels: np.ndarray, scores: np.ndarray) -> Suspects:
        """Find labels that are doubtful.

        Args:
            labels: that rows have.
            scores: of models that were not trained on these rows.
        """

    @abstractmethod
    def baseline(self) -> Any:
        """Make the scikit-learn estimator that is fitted on words alone: `predict_proba` or, of numbers, `predict`."""

    @abstractmethod
    def baseline_scores(self, estimator: Any, features: Any) -> np.ndarray:
        """Compute a fitted baseline's scores: float [rows, scores]."""
