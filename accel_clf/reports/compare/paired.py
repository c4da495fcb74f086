"""Statistics of two models that have answered the same rows: resamples, intervals, tests, and corrections of many.

Differences are the compared model's value less the baseline's. Each function is one textbook method, of numbers alone:

- rows drawn again with replacement, both models' together: Efron & Tibshirani, An Introduction to the Bootstrap, 1993;
- of rows in groups (documents, authors), groups are drawn: Davison & Hinkley, Bootstrap Methods, 1997, section 3.8;
- the difference of two shares of the same rows, an interval by the score test: Tango, Statistics in Medicine 17, 1998;
- McNemar's test, exact and mid-p: Fagerland, Lydersen & Laake, BMC Medical Research Methodology 13, 2013;
- folds, whose models share most training rows: Nadeau & Bengio, Machine Learning 52, 2003, the corrected t-test;
- many tests: Holm, Scandinavian Journal of Statistics 6, 1979.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.stats import binom, norm, t

from accel_clf.reports.intervals import Interval, Z

CONFIDENCE = 0.95
SEED = 0  # of resamples: the same rows have the same intervals
CELLS = 2_000_000  # of the arrays that resamples are drawn in


class Discordance(NamedTuple):
    """How many rows which of two models has right.

    Attributes:
        both, baseline, other, neither: rows that both, only one, or none of the models has right.
    """

    both: int
    baseline: int
    other: int
    neither: int

    @property
    def rows(self) -> int:
        """All of them."""
        return sum(self)

    @classmethod
    def of(cls, baseline: np.ndarray, other: np.ndarray) -> "Discordance":
        """Count rows; both arguments are bool [rows], whether a model has them right."""
        counts = np.bincount(2 * baseline.astype(np.int64) + other, minlength=4)
        return cls(int(counts[3]), int(counts[2]), int(counts[1]), int(counts[0]))


def resample_weights(rows: int, resamples: int, groups: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """Draw bootstrap resamples, in parts of as many as fit into memory.

    Args:
        rows: how many there are.
        resamples: how many are drawn.
        groups: int [rows], codes from 0, where rows of a group are drawn together.

    Yields:
        float64 [rows, some resamples]: how often each row has been drawn.
    """
    rng = np.random.default_rng(SEED)
    units = rows if groups is None else int(groups.max()) + 1
    at_once = max(1, CELLS // rows)
    for start in range(0, resamples, at_once):
        count = min(at_once, resamples - start)
        drawn = rng.integers(units, size=(count, units))
        cells = drawn * count + np.arange(count)[:, None]
        weights = np.bincount(cells.ravel(), minlength=units * count).reshape(units, count).astype(np.float64)
        yield weights if groups is None else weights[groups]


class Evidence(ABC):
    """What is known of a difference."""

    @abstractmethod
    def interval(self) -> Interval:
        """Compute what the difference may be, at CONFIDENCE; NaN where nothing is known."""

    @abstractmethod
    def p(self, margin: float = 0.0) -> tuple[float, float]:
        """Test the difference against a margin.

        Returns:
            The p-value of a difference that is not below the margin, and of one that is not above it; each is that of a
            two-sided test, so that it is below 0.05 where the margin is outside of the interval.
        """

    def two_sided_p(self) -> float:
        """Test whether there is a difference."""
        return min(self.p())


@dataclass(frozen=True, eq=False)
class Resampled(Evidence):
    """What resamples say of a difference.

    Attributes:
        differences: float [resamples], NaN in those where it is not defined.
        differing: the rows, or groups of them, of which the models' answers differ, where the difference is made by
            answers alone; None where scores make it, too.
    """

    differences: np.ndarray
    differing: int | None = None

    def _defined(self) -> np.ndarray:
        return np.asarray(self.differences[np.isfinite(self.differences)])

    def interval(self) -> Interval:
        """Compute the percentile interval; there is none where answers make the same difference in all resamples."""
        defined = self._defined()
        if not len(defined) or (self.differing is not None and not np.ptp(defined)):
            return Interval(np.nan, np.nan)
        low, high = np.quantile(defined, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
        return Interval(float(low), float(high))

    def p(self, margin: float = 0.0) -> tuple[float, float]:
        """Count the resamples on either side of the margin; where there are none, go by the normal distribution.

        A difference from 0 that a few rows make is no surer than if all of them were of one side: resamples of five
        such rows have nothing else to draw.
        """
        defined = self._defined()
        if not len(defined):
            return 1.0, 1.0
        excess = defined - margin
        below, above = _tail(excess), _tail(-excess)
        surest = 0.0 if self.differing is None else 2 * 0.5**self.differing
        if margin <= 0 or not np.ptp(defined):
            below = max(below, surest)
        if margin >= 0 or not np.ptp(defined):
            above = max(above, surest)
        return min(1.0, below), min(1.0, above)


def _tail(excess: np.ndarray) -> float:
    """Return the two-sided p-value of an excess that is not below 0, by resampled ones; it may be above 1."""
    counted = 2 * (int((excess >= 0).sum()) + 1) / (len(excess) + 1)
    deviation = float(excess.std())
    if (excess >= 0).any() or deviation == 0:
        return counted
    return min(counted, 2 * float(norm.cdf(excess.mean() / deviation)))


@dataclass(frozen=True, eq=False)
class OfShares(Evidence):
    """What independent rows say of the difference of two shares of right ones.

    Attributes:
        counts: of the rows.
    """

    counts: Discordance

    def interval(self) -> Interval:
        """Compute Tango's interval."""
        return score_interval(self.counts)

    def p(self, margin: float = 0.0) -> tuple[float, float]:
        """Do Tango's test; what is beyond a margin that lies on the same side of 0 is beyond 0, too, by McNemar's."""
        z, (exact, _) = _score(self.counts, margin), mcnemar_p(self.counts)
        below, above = min(1.0, 2 * float(norm.cdf(z))), min(1.0, 2 * float(norm.sf(z)))
        if margin <= 0:
            below = max(below, exact if self.counts.other < self.counts.baseline else 1.0)
        if margin >= 0:
            above = max(above, exact if self.counts.other > self.counts.baseline else 1.0)
        return below, above


def score_interval(counts: Discordance) -> Interval:
    """Compute Tango's interval of the difference of two shares of right rows: margins that its test does not reject.

    Unlike the bootstrap, it knows that models which differ in no row of a hundred may differ in others.
    """
    difference = (counts.other - counts.baseline) / counts.rows
    low, high = (
        end if excess(nearly) <= 0 else float(brentq(excess, nearly, difference, xtol=1e-12))
        for end, sign in ((-1.0, 1), (1.0, -1))
        for excess, nearly in [(partial(_excess, counts, sign), end * (1 - 1e-12))]
    )
    return Interval(low, high)


def _excess(counts: Discordance, sign: int, margin: float) -> float:
    """Compute by how much the score of a margin is beyond what CONFIDENCE allows, on one side."""
    return sign * _score(counts, margin) - Z


def _score(counts: Discordance, margin: float) -> float:
    """Compute how many standard errors, as they are where the margin is true, the difference is above the margin."""
    rows, gained, lost = counts.rows, counts.other, counts.baseline
    distance = gained - lost - rows * margin
    # The likeliest share of rows that only the baseline has right, if the margin is true: the root of a quadratic.
    a = 2 * rows
    b = -gained - lost + (2 * rows - gained + lost) * margin
    c = -lost * margin * (1 - margin)
    share = (np.sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a)
    variance = rows * (2 * share + margin * (1 - margin))
    if variance <= 0:
        return 0.0 if distance == 0 else float(np.copysign(np.inf, distance))
    return float(distance / np.sqrt(variance))


def mcnemar_p(counts: Discordance) -> tuple[float, float]:
    """Test whether as many rows are right by the one model alone as by the other, two-sided.

    Returns:
        The exact p-value, which is a little too large, and the mid-p value.
    """
    discordant, fewer = counts.baseline + counts.other, min(counts.baseline, counts.other)
    exact = min(1.0, 2 * float(binom.cdf(fewer, discordant, 0.5)))
    mid = 2 * float(binom.cdf(fewer, discordant, 0.5)) - float(binom.pmf(fewer, discordant, 0.5))
    return exact, min(1.0, mid)


@dataclass(frozen=True, eq=False)
class OfFolds(Evidence):
    """What folds say of a difference: their models share training rows, which the corrected t-test allows for.

    Folds may agree by chance, as where one row in each differs; the t-test, which is of normal differences, takes that
    for certainty. So nothing is shown that their rows would not show without folds, if they were independent.

    Attributes:
        differences: float [folds], NaN of folds where it is not defined. A fold's rows are one part in so many of all,
            its training rows all others.
        of_rows: what the rows of all folds say, of models that are given.
    """

    differences: np.ndarray
    of_rows: Evidence

    def _moments(self) -> tuple[float, float, int]:
        """Return the mean, its corrected standard error, and the degrees of freedom."""
        defined = self.differences[np.isfinite(self.differences)]
        if len(defined) < 2:
            return np.nan, np.nan, 0
        correction = 1 / len(defined) + 1 / (len(self.differences) - 1)
        return float(defined.mean()), float(np.sqrt(correction * defined.var(ddof=1))), len(defined) - 1

    def interval(self) -> Interval:
        """Compute the interval of the expected difference of models that are trained on as many rows."""
        mean, error, degrees = self._moments()
        if not degrees:
            return Interval(np.nan, np.nan)
        reach = float(t.ppf((1 + CONFIDENCE) / 2, degrees)) * error
        low, high = self.of_rows.interval()
        return Interval(float(np.minimum(low, mean - reach)), float(np.maximum(high, mean + reach)))

    def p(self, margin: float = 0.0) -> tuple[float, float]:
        """Do the corrected resampled t-test, and the rows' test: what is shown is shown by both."""
        mean, error, degrees = self._moments()
        if not degrees or mean == margin:
            return 1.0, 1.0
        statistic = (mean - margin) / error if error else float(np.copysign(np.inf, mean - margin))
        below, above = self.of_rows.p(margin)
        return (
            min(1.0, max(below, 2 * float(t.cdf(statistic, degrees)))),
            min(1.0, max(above, 2 * float(t.sf(statistic, degrees)))),
        )


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for their number: at 0.05, the chance of any false finding among them is at most 5%."""
    values = np.asarray(p_values, np.float64)
    order = np.argsort(values, kind="stable")
    stepped = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    corrected = np.empty(len(values))
    corrected[order] = np.minimum(1.0, stepped)
    return [float(value) for value in corrected]
