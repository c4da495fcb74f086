"""How a run differs from the baseline: by metric, label and slice, as values that reports show."""

from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from accel_clf.reports.compare.paired import Discordance, Evidence, OfFolds, OfShares, Resampled, mcnemar_p
from accel_clf.reports.intervals import Interval
from accel_clf.targets.metrics import LOWER_IS_BETTER

SIGNIFICANCE = 0.05
METHODS: dict[type[Evidence], str] = {
    Resampled: "paired bootstrap",
    OfShares: "score interval, McNemar's test",
    OfFolds: "corrected resampled t-test",
}


@dataclass(frozen=True, eq=False)
class Difference:
    """How a metric of a run differs from the baseline's.

    Attributes:
        metric: its name.
        rows: those that it is of.
        baseline, run: its values; of folds, their mean.
        evidence: of the difference.
        corrected_p: the p-value of there being none, corrected for the number of runs, labels and slices.
    """

    metric: str
    rows: int
    baseline: float
    run: float
    evidence: Evidence
    corrected_p: float = 1.0

    @property
    def difference(self) -> float:
        """The run's less the baseline's; of folds, the mean of those in which both are defined."""
        if isinstance(self.evidence, OfFolds):
            defined = self.evidence.differences[np.isfinite(self.evidence.differences)]
            return float(defined.mean()) if len(defined) else float("nan")
        return self.run - self.baseline

    @property
    def sign(self) -> int:
        """1 where more is better, -1 where less is."""
        return -1 if self.metric in LOWER_IS_BETTER else 1

    @property
    def verdict(self) -> str:
        """What is shown: "better", "worse", or "not shown"."""
        if self.corrected_p > SIGNIFICANCE or not isfinite(self.difference):
            return "not shown"
        return "better" if self.difference * self.sign > 0 else "worse"

    def interval(self) -> Interval:
        """Return what the difference may be."""
        return self.evidence.interval()

    def to_json(self) -> dict[str, Any]:
        """Return what `accel-clf compare --json` prints."""
        folds = {"folds": self.evidence.differences.tolist()} if isinstance(self.evidence, OfFolds) else {}
        return {
            "rows": self.rows,
            "baseline": self.baseline,
            "run": self.run,
            "difference": self.difference,
            "interval": list(self.interval()),
            "p": self.evidence.two_sided_p(),
            "corrected_p": self.corrected_p,
            "verdict": self.verdict,
            "method": METHODS[type(self.evidence)],
            **folds,
        }


@dataclass(frozen=True, eq=False)
class Pair:
    """A run beside the baseline.

    Attributes:
        baseline, run: their folders.
        metrics: of all rows.
        labels: the F1 of each label that rows have; empty where numbers are predicted.
        slices: of each slice's rows, metric by metric.
        counts: of rows that are right; None where numbers are predicted.
        differing: rows whose answers differ.
        are_independent: whether rows are: neither in groups nor answered by the models of folds.
    """

    baseline: Path
    run: Path
    metrics: dict[str, Difference]
    labels: dict[str, Difference]
    slices: dict[str, dict[str, Difference]]
    counts: Discordance | None
    differing: int
    are_independent: bool


def mcnemar_json(pair: Pair) -> dict[str, Any] | None:
    """Return counts of right rows, as JSON has them; with McNemar's test, where rows are independent."""
    if (counts := pair.counts) is None:
        return None
    exact, mid = mcnemar_p(counts) if pair.are_independent else (None, None)
    return {
        "both_right": counts.both,
        "only_baseline_right": counts.baseline,
        "only_run_right": counts.other,
        "neither_right": counts.neither,
        "p": exact,
        "mid_p": mid,
    }
