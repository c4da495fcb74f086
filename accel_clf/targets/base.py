"""The seam between what is predicted and everything else: a kind of target is one subclass, in a file of its own."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from accel_clf.config.schema import TargetConfig
from accel_clf.targets.metrics import Metrics

if TYPE_CHECKING:
    import torch

Loss = Callable[["torch.Tensor", "torch.Tensor"], "torch.Tensor"]


@dataclass(frozen=True)
class Target(ABC):
    """What is predicted of a text: how labels are encoded, learned, scored, decided and measured.

    Labels are arrays with a row for each text; what a row is, its kind says. torch is imported in losses alone.

    Attributes:
        names: of the model's outputs, in their order.
        padding_label: the label of padding rows, which count nowhere.
    """

    names: tuple[str, ...]
    padding_label: ClassVar[int]

    @classmethod
    @abstractmethod
    def of_cells(cls, cells: Sequence[str]) -> "Target":
        """Make the target of a data set from the different cells of its label column."""

    @abstractmethod
    def encode(self, cell: str, location: str) -> int:
        """Encode a cell of the label column.

        Args:
            cell: its text.
            location: of the cell, for messages.

        Raises:
            DataError: it has no label that the model knows.
        """

    @abstractmethod
    def to_text(self, label: Any) -> str:
        """Write a label as tables have it."""

    @abstractmethod
    def hf_config(self) -> dict[str, Any]:
        """Return what a model's config.json says of its outputs."""

    @abstractmethod
    def loss(self, settings: TargetConfig, labels: np.ndarray) -> "Loss":
        """Make the loss that a model is trained with.

        Args:
            settings: which.
            labels: of the training rows, whose shares some losses go by.

        Returns:
            A function of logits, float32 [rows, outputs], and labels to the loss summed over rows, padding rows
            excluded: a term depends on its own row only, so that neither accumulation nor processes change the sum.
        """

    @abstractmethod
    def scores(self, logits: np.ndarray) -> np.ndarray:
        """Compute each output's score: float64 [rows, outputs]."""

    @abstractmethod
    def decide(self, scores: np.ndarray) -> np.ndarray:
        """Return the labels that scores [rows, outputs] are for."""

    @abstractmethod
    def metrics(
        self,
        labels: np.ndarray,
        scores: np.ndarray,
        slices: np.ndarray | None = None,
        slice_names: Sequence[str] = (),
        named: Sequence[str] = (),
    ) -> Metrics:
        """Compute the built-in metrics.

        Args:
            labels: the right ones.
            scores: float [rows, outputs].
            slices: int [rows], the slice of each row; adds each slice's averages.
            slice_names: of the slices.
            named: those to compute beside the ones that there always are; see `check_metrics`.
        """

    @abstractmethod
    def warnings(self, labels: np.ndarray, loss: str, metric: str) -> list[str]:
        """Describe what is suspicious about the labels to train on, and what to try.

        Args:
            labels: of the training rows.
            loss: the setting target.loss.
            metric: the setting evaluation.metric.
        """

    @abstractmethod
    def check_metrics(self, named: Sequence[str]) -> None:
        """Raise ConfigError where a metric that is asked for by name is of a label that there is not."""

    @abstractmethod
    def strata(self, labels: np.ndarray) -> np.ndarray:
        """Return what splits and folds spread evenly: int [rows]."""

    @abstractmethod
    def fit_temperature(self, logits: np.ndarray, labels: np.ndarray) -> float:
        """Find the number to divide logits by that maximizes the likelihood of labels that were not learned from."""
