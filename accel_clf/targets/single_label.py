"""One label a text: classes that exclude each other, learned by cross-entropy, scored by softmax."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from accel_clf.config.schema import TargetConfig
from accel_clf.core.errors import DataError
from accel_clf.targets import calibration
from accel_clf.targets.base import Loss, Target
from accel_clf.targets.metrics import Metrics, classification_metrics
from accel_clf.targets.named_metrics import check_labels
from accel_clf.targets.scores import probabilities

MAX_NAMES_IN_MESSAGE = 12
IMBALANCED = 10  # times as many rows of the commonest label as of the rarest


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

    def loss(self, settings: TargetConfig, labels: np.ndarray) -> Loss:
        from accel_clf.targets.cross_entropy import cross_entropy_loss

        counts = np.bincount(labels, minlength=len(self.names))
        return cross_entropy_loss(settings, counts, self.padding_label)

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

    def warnings(self, labels: np.ndarray, loss: str, metric: str) -> list[str]:
        counts = np.bincount(labels, minlength=len(self.names))
        common, rare = int(counts.argmax()), int(counts.argmin())
        if counts[common] <= IMBALANCED * counts[rare]:
            return []
        shares = f"label {self.names[common]!r} has {counts[common]} training rows, {self.names[rare]!r} {counts[rare]}"
        messages = []
        if loss in ("auto", "plain"):
            messages.append(f"{shares}: --target.loss logit_adjusted (or weighted, focal) does more for rare labels")
        if metric == "accuracy":
            messages.append(f"{shares}, which accuracy hardly sees: --evaluation.metric macro_f1 counts all alike")
        return messages

    def check_metrics(self, named: Sequence[str]) -> None:
        check_labels(named, self.names)

    def strata(self, labels: np.ndarray) -> np.ndarray:
        return labels

    def fit_temperature(self, logits: np.ndarray, labels: np.ndarray) -> float:
        return calibration.fit_temperature(logits, labels)
