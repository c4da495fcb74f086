"""One label a text: classes that exclude each other, learned by cross-entropy, scored by softmax."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from accel_clf.core.errors import DataError
from accel_clf.targets import calibration
from accel_clf.targets.base import Target
from accel_clf.targets.metrics import Metrics, classification_metrics
from accel_clf.targets.named_metrics import check_labels
from accel_clf.targets.scores import probabilities

if TYPE_CHECKING:
    import torch

MAX_NAMES_IN_MESSAGE = 12


@dataclass(frozen=True)
class SingleLabel(Target):
    """One of the classes `names`; a label is its index there, an int."""

    padding_label = -100  # that cross-entropy ignores

    @classmethod
    def of_cells(cls, cells: Sequence[str]) -> "SingleLabel":
        """Make the target of these classes, sorted numerically if all are integers, otherwise alphabetically."""
        integers = all(name.removeprefix("-").isdecimal() and str(int(name)) == name for name in cells)
        return cls(tuple(sorted(cells, key=int) if integers else sorted(cells)))

    @cached_property
    def _codes(self) -> dict[str, int]:
        return {name: code for code, name in enumerate(self.names)}

    def encode(self, cell: str, location: str) -> int:
        code = self._codes.get(cell)
        if code is None:
            raise DataError(
                f"{location}: label {cell!r}",
                f"one of the training rows' labels: {', '.join(map(repr, self.names[:MAX_NAMES_IN_MESSAGE]))}"
                + (" ..." if len(self.names) > MAX_NAMES_IN_MESSAGE else ""),
            )
        return code

    def to_text(self, label: Any) -> str:
        name: str = self.names[label]
        return name

    def hf_config(self) -> dict[str, Any]:
        return {
            "problem_type": "single_label_classification",
            "id2label": dict(enumerate(self.names)),
            "label2id": self._codes,
        }

    def loss(self, logits: "torch.Tensor", labels: "torch.Tensor") -> "torch.Tensor":
        from torch.nn.functional import cross_entropy

        return cross_entropy(logits, labels, ignore_index=self.padding_label, reduction="sum")

    def scores(self, logits: np.ndarray) -> np.ndarray:
        return probabilities(logits)

    def decide(self, scores: np.ndarray) -> np.ndarray:
        decided: np.ndarray = scores.argmax(axis=1)
        return decided

    def metrics(
        self,
        labels: np.ndarray,
        scores: np.ndarray,
        slices: np.ndarray | None = None,
        slice_names: Sequence[str] = (),
        named: Sequence[str] = (),
    ) -> Metrics:
        return classification_metrics(labels, scores, self.names, slices, slice_names, named)

    def check_metrics(self, named: Sequence[str]) -> None:
        check_labels(named, self.names)

    def strata(self, labels: np.ndarray) -> np.ndarray:
        return labels

    def fit_temperature(self, logits: np.ndarray, labels: np.ndarray) -> float:
        return calibration.fit_temperature(logits, labels)
