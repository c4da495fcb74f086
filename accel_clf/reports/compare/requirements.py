"""What a run must be in comparison with the baseline, so that a model can be gated: `accuracy not worse by 0.01`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accel_clf.core.errors import ConfigError, closest
from accel_clf.reports.compare.differences import SIGNIFICANCE, Difference, Pair
from accel_clf.reports.compare.paired import holm
from accel_clf.reports.intervals import Interval

GRAMMAR = (
    '"METRIC not worse by MARGIN", "METRIC shown not worse by MARGIN" or "METRIC better by MARGIN", such as '
    '"accuracy not worse by 0.01"; for a slice with its column and value before it: "lang=de: accuracy ..."'
)
NOT_WORSE, SHOWN_NOT_WORSE, BETTER = "not worse", "shown not worse", "better"
_PATTERN = re.compile(
    r"\s*(?:(?P<column>[^\s=:]+)=(?P<slice>.*?):\s+)?(?P<metric>\S.*?)\s+(?P<claim>shown\s+not\s+worse|not\s+worse|better)"
    r"\s+by\s+(?P<margin>\S+)\s*"
)


@dataclass(frozen=True)
class Requirement:
    """A claim that must hold, or must not be refuted.

    Attributes:
        text: as the user has written it.
        metric: its name.
        claim: NOT_WORSE, which holds unless the run is shown to be worse by more than the margin; SHOWN_NOT_WORSE,
            which holds if the opposite is shown; or BETTER, which holds if the run is shown to be better by more.
        margin: not negative, in the metric's unit.
        column, slice: of the rows that it is about; None for all.
    """

    text: str
    metric: str
    claim: str
    margin: float
    column: str | None = None
    slice: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Requirement":
        """Read a requirement.

        Raises:
            ConfigError: it is not written as one.
        """
        match = _PATTERN.fullmatch(text)
        if not match:
            raise ConfigError(f"--require {text!r}", GRAMMAR)
        try:
            margin = float(match["margin"])
        except ValueError:
            margin = -1.0
        if not 0 <= margin < float("inf"):
            expected = "a number of the metric's own unit, 0 or more: 0.01 is one point of a hundred"
            raise ConfigError(f"--require {text!r}: the margin is {match['margin']!r}", expected)
        claim = " ".join(match["claim"].split())
        return cls(text.strip(), match["metric"], claim, margin, match["column"], match["slice"])


@dataclass(frozen=True)
class Outcome:
    """What the rows say of a requirement.

    Attributes:
        requirement: which.
        run: the run's folder.
        state: what is shown: "worse", "not worse", "better", "not better", or "nothing".
        is_met: whether the requirement holds.
        difference: the run's value less the baseline's.
        interval: of the difference.
        corrected_p: of what is shown; where nothing is, the lower of both directions'.
        boundary: the difference that it is about: the margin, below 0 where less than the baseline's.
        tests: requirements and runs together, for the number of which p-values are corrected.
    """

    requirement: Requirement
    run: Path
    state: str
    is_met: bool
    difference: float
    interval: Interval
    corrected_p: float
    boundary: float
    tests: int

    @property
    def explanation(self) -> str:
        """Say what is shown."""
        margin = f"{self.requirement.margin:g}"
        return {
            "worse": f"shown to be worse by more than {margin}",
            "not worse": f"shown not to be worse by {margin}",
            "better": f"shown to be better by more than {margin}",
            "not better": f"shown not to be better by {margin}",
            "nothing": f"not shown either way: {self._doubt()}",
        }[self.state]

    def _doubt(self) -> str:
        """Say why nothing is shown; intervals are not corrected, and know less than p of few differing rows."""
        low, high = self.interval
        if low <= self.boundary <= high:
            return "the interval holds the margin"
        of_all = f" after the correction for {self.tests} requirements" if self.tests > 1 else ""
        return f"p is {self.corrected_p:.3f}{of_all}"

    def to_json(self) -> dict[str, Any]:
        """Return what `accel-clf compare --json` prints."""
        return {
            "requirement": self.requirement.text,
            "run": str(self.run),
            "metric": self.requirement.metric,
            "slice": self.requirement.slice,
            "margin": self.requirement.margin,
            "met": self.is_met,
            "state": self.state,
            "difference": self.difference,
            "interval": list(self.interval),
            "corrected_p": self.corrected_p,
        }


def check(requirements: Sequence[Requirement], pairs: Sequence[Pair], column: str | None) -> list[Outcome]:
    """Check requirements on each run.

    What is shown is shown at 5% for all requirements and runs together (Holm), by two-sided tests: of one requirement,
    where the margin is outside of the 95% interval.

    Args:
        requirements: to check.
        pairs: the runs beside the baseline.
        column: the slices'.

    Raises:
        ConfigError: one is about a slice that there is not.
    """
    tests = [
        (requirement, pair, _difference(requirement, pair, column)) for requirement in requirements for pair in pairs
    ]
    # In the direction of the metric: above the margin is better.
    sides = []
    for requirement, _, difference in tests:
        below, above = difference.evidence.p(_boundary(requirement, difference))
        sides.append((below, above) if difference.sign > 0 else (above, below))
    all_below = holm([p for p, _ in sides])
    all_above = holm([p for _, p in sides])
    return [
        _outcome(requirement, pair, difference, p_below, p_above, len(tests))
        for (requirement, pair, difference), p_below, p_above in zip(tests, all_below, all_above, strict=True)
    ]


def _boundary(requirement: Requirement, difference: Difference) -> float:
    """Return the difference, in the metric's own direction, on one side of which the requirement's claim is true."""
    return (requirement.margin if requirement.claim == BETTER else -requirement.margin) * difference.sign


def _outcome(
    requirement: Requirement, pair: Pair, difference: Difference, p_below: float, p_above: float, tests: int
) -> Outcome:
    is_better = requirement.claim == BETTER
    state = "nothing"
    if p_below <= SIGNIFICANCE:
        state = "not better" if is_better else "worse"
    elif p_above <= SIGNIFICANCE:
        state = "better" if is_better else "not worse"
    is_met = {
        NOT_WORSE: state != "worse",
        SHOWN_NOT_WORSE: state == "not worse",
        BETTER: state == "better",
    }[requirement.claim]
    p = min(p_below, p_above)
    interval, boundary = difference.interval(), _boundary(requirement, difference)
    return Outcome(requirement, pair.run, state, is_met, difference.difference, interval, p, boundary, tests)


def _difference(requirement: Requirement, pair: Pair, column: str | None) -> Difference:
    if requirement.slice is None:
        return pair.metrics[requirement.metric]
    if requirement.column != column:
        expected = f"the slices' column, {column!r}" if column else "rows with slices"
        raise ConfigError(f"--require {requirement.text!r}: {requirement.column}", expected, "--slice COLUMN")
    if requirement.slice not in pair.slices:
        raise ConfigError(
            f"--require {requirement.text!r}: no row has {requirement.slice!r} in column {column!r}",
            f"one of {', '.join(pair.slices)}",
            closest(requirement.slice, list(pair.slices)),
        )
    return pair.slices[requirement.slice][requirement.metric]
