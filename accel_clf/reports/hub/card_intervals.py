"""95% intervals for a model card: by what metrics.json has and, where that is not enough, by the run's predictions."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from accel_clf.reports import intervals
from accel_clf.reports.intervals import Interval
from accel_clf.run_folder.answers import read_answers
from accel_clf.targets.base import Target
from accel_clf.targets.metrics import Averages, Metrics
from accel_clf.targets.multi_label import MultiLabel
from accel_clf.targets.regression import Regression


@dataclass(frozen=True)
class Decisions:
    """What was answered for labelled rows.

    Attributes:
        labels, decided: the right answers, and the model's, as the target encodes them.
        slices: of the rows; None where that is not known.
    """

    labels: np.ndarray
    decided: np.ndarray
    slices: np.ndarray | None

    @classmethod
    def read(cls, path: Path, target: Target) -> "Decisions | None":
        """Read a table of predictions; None where there is none, or where metrics.json is enough for its target."""
        if not isinstance(target, MultiLabel | Regression) or not path.is_file():
            return None
        answers = read_answers(path, target)
        return cls(answers.labels, answers.decided, answers.slices)

    def of_slice(self, name: str) -> "Decisions | None":
        """Return those of a slice; None where slices are not known."""
        if self.slices is None:
            return None
        chosen = self.slices == name
        return Decisions(self.labels[chosen], self.decided[chosen], self.slices[chosen])


def metric_intervals(averages: Averages, target: Target, decisions: Decisions | None = None) -> dict[str, Interval]:
    """Compute the intervals of those metrics that have one.

    Args:
        averages: of some rows.
        target: what is predicted.
        decisions: for these rows, where they are known.
    """
    labels, decided = (decisions.labels, decisions.decided) if decisions else (None, None)
    if isinstance(averages, Metrics) and (entries := averages.confusion_entries()) is not None:
        labels, decided = (np.repeat(entries[:, side], entries[:, 2]) for side in (0, 1))
    return intervals.metric_intervals(averages.values, averages.rows, target, labels, decided)
