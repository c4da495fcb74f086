"""Which answers are given, so that few of them are wrong, and the set of labels that a text may have.

Both are found on rows that neither training nor any choice has used, and hold for any model, for texts drawn as those
rows are:

- Of the answers given, a share of at most `risk` is wrong, with a probability of at least `confidence` over the rows
  drawn. Some of the rows propose thresholds, from strict to lax; the others test them in that order until one fails,
  which needs no correction for their number (fixed-sequence testing: Angelopoulos et al., "Learn then test", 2021). The
  test is the exact binomial one, whose bound is Clopper and Pearson's, as in Geifman and El-Yaniv, "Selective
  classification for deep neural networks", 2017.
- The set holds the right label with a probability of at least 1 - risk: split conformal prediction by the score of the
  right label (Sadinle et al., "Least ambiguous set-valued classifiers", 2019), label by label (Vovk, "Conditional
  validity of inductive conformal predictors", 2012).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, floor
from typing import Any

import numpy as np
from scipy.stats import beta

TUNING_SHARE = 0.25  # of the rows: they propose thresholds and are not tested on
CANDIDATES = 200  # thresholds, each to answer half a percent of texts more than the one before
EXCESS_COVERAGE = 0.02  # that a label's set threshold may have at most: it is one of n scores, so 1 / (n + 1)
ROUNDING = 1e-9  # relative, so that the rows that a limit comes from are within it


@dataclass(frozen=True, eq=False)
class Abstention:
    """Rules for which texts are answered, and for each text's set of labels.

    Attributes:
        risk: the highest share of wrong answers among those given, and of sets without the right label.
        confidence: the probability, over calibration rows drawn, that the former holds.
        thresholds: float [labels], the score from which a label is given as the answer; all infinite if none can be.
        set_thresholds: float [labels], the score from which a label is in the set, where the decided label always is.
        pooled_labels: labels with too few rows for a set threshold of their own: for these, sets hold the right label
            at 1 - risk in the mean, not label by label.
        rows: the number of calibration rows.
        error_bound: of the share of wrong answers among those given, at the confidence; 1 if none can be given.
        answered_share: the share of calibration rows that are answered.
    """

    risk: float
    confidence: float
    thresholds: np.ndarray
    set_thresholds: np.ndarray
    pooled_labels: tuple[int, ...]
    rows: int
    error_bound: float
    answered_share: float

    def answer(self, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return which rows are answered, bool [rows], and which labels their sets hold, bool [rows, labels].

        Args:
            scores: float [rows, labels], probabilities; the decided label is that of the highest.
        """
        decided, highest = _decide(scores)
        sets = scores >= self.set_thresholds
        sets[np.arange(len(scores)), decided] = True
        return highest >= self.thresholds[decided], sets

    def to_json(self) -> dict[str, Any]:
        """Return the rules as JSON, in which an infinite threshold is null."""
        return {
            "risk": self.risk,
            "confidence": self.confidence,
            "rows": self.rows,
            "error_bound": self.error_bound,
            "answered_share": self.answered_share,
            "thresholds": _infinite_to_none(self.thresholds),
            "set_thresholds": _infinite_to_none(self.set_thresholds),
            "pooled_labels": list(self.pooled_labels),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Abstention":
        """Read what `to_json` has written."""
        arrays = {
            name: np.array([np.inf if value is None else value for value in content[name]])
            for name in ("thresholds", "set_thresholds")
        }
        return cls(**{**content, **arrays, "pooled_labels": tuple(content["pooled_labels"])})


def fit(scores: np.ndarray, labels: np.ndarray, risk: float, confidence: float = 0.95) -> Abstention:
    """Find the rules that hold at this risk and answer as many texts as the rows can vouch for.

    Args:
        scores: float [rows, labels], probabilities of rows that neither training nor any choice has used.
        labels: int [rows], the right labels.
        risk: above 0, below 1.
        confidence: above 0, below 1.
    """
    decided, highest = _decide(scores)
    thresholds, bound = _fit_thresholds(decided, highest, decided != labels, scores.shape[1], risk, confidence)
    set_thresholds, pooled_labels = _fit_set_thresholds(scores, labels, risk)
    answered_share = float(np.mean(highest >= thresholds[decided]))
    return Abstention(risk, confidence, thresholds, set_thresholds, pooled_labels, len(labels), bound, answered_share)


def error_bound(wrong: int, answered: int, confidence: float) -> float:
    """Compute Clopper and Pearson's upper bound on the probability of an error; 1 where there are no right answers."""
    return float(beta.ppf(confidence, wrong + 1, answered - wrong)) if wrong < answered else 1.0


def _fit_thresholds(
    decided: np.ndarray, highest: np.ndarray, is_wrong: np.ndarray, n_labels: int, risk: float, confidence: float
) -> tuple[np.ndarray, float]:
    """Find each label's threshold, float [labels], and the bound on the error of what they answer."""
    shuffled = np.random.default_rng(0).permutation(len(decided))  # files are sorted by label, or by source
    tuning, testing = np.split(shuffled, [ceil(len(decided) * TUNING_SHARE)])
    candidates = _propose_thresholds(decided[tuning], highest[tuning], is_wrong[tuning], n_labels, risk)

    decided, highest, is_wrong = decided[testing], highest[testing], is_wrong[testing]
    thresholds, bound = np.full(n_labels, np.inf), 1.0
    for candidate in candidates:
        is_answered = highest >= candidate[decided]
        candidate_bound = error_bound(int(is_wrong[is_answered].sum()), int(is_answered.sum()), confidence)
        if candidate_bound > risk:
            break
        thresholds, bound = candidate, candidate_bound
    return thresholds, bound


def _propose_thresholds(
    decided: np.ndarray, highest: np.ndarray, is_wrong: np.ndarray, n_labels: int, risk: float
) -> np.ndarray:
    """Make the thresholds to test, float [candidates, labels]: from the surest to pass to those that answer all.

    Scores of some labels promise more than those of others. A label's odds of being wrong are therefore taken to be
    those of its score, times its errors over those that its scores lead to expect; one error more draws labels with few
    rows to the ratio of all labels. A candidate answers where these odds are below a limit, the same for all labels.
    """
    odds = (1 - highest) / highest
    errors = np.bincount(decided, weights=is_wrong, minlength=n_labels)
    expected_errors = np.bincount(decided, weights=1 - highest, minlength=n_labels)
    overall_ratio = (errors.sum() + 1) / (expected_errors.sum() + 1)
    ratios = (errors + 1) / (expected_errors + 1 / overall_ratio)
    odds = odds * ratios[decided]
    limits = np.append(np.quantile(odds, np.arange(1, CANDIDATES) / CANDIDATES) * (1 + ROUNDING), np.inf)
    thresholds: np.ndarray = ratios / (ratios + limits[:, None])

    # The strictest answer too few rows to pass. Their few errors, seen or expected, are uncertain; the mean is less so.
    order = odds.argsort()
    answered = np.searchsorted(odds[order], limits, side="right")
    errors_answered = np.cumsum((odds / (1 + odds) + is_wrong)[order] / 2)[answered - 1]
    surest = np.argmin(beta.sf(risk, errors_answered + 1, answered - errors_answered))  # the binomial test's p-value
    return thresholds[surest:]


def _fit_set_thresholds(scores: np.ndarray, labels: np.ndarray, risk: float) -> tuple[np.ndarray, tuple[int, ...]]:
    """Find each label's set threshold, float [labels], and the labels that share one.

    The decided label is in the set whatever its score, so right decisions count as an infinite score: otherwise sets
    would be larger than they need to be.
    """
    rows, n_labels = len(labels), scores.shape[1]
    right_scores = np.where(scores.argmax(axis=1) == labels, np.inf, scores[np.arange(rows), labels])
    counts = np.bincount(labels, minlength=n_labels)
    enough = ceil(1 / min(risk, EXCESS_COVERAGE)) - 1
    # Labels with just enough rows are in the pool, too, although they have a threshold of their own: the guarantee
    # needs the same groups whichever row is the new text, and with it counted, a pooled label may have just enough.
    thresholds = np.full(n_labels, _conformal_threshold(right_scores[counts[labels] <= enough], risk))
    for label in np.flatnonzero(counts >= enough):
        thresholds[label] = _conformal_threshold(right_scores[labels == label], risk)
    return thresholds, tuple(np.flatnonzero(counts < enough).tolist())


def _conformal_threshold(right_scores: np.ndarray, risk: float) -> float:
    """Return the highest threshold that a new right score reaches with a probability of at least 1 - risk."""
    rank = floor(risk * (len(right_scores) + 1))
    return float(np.sort(right_scores)[rank - 1]) if rank else 0.0  # which all scores reach


def _decide(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels of the highest scores, int [rows], and these scores, float [rows]."""
    decided = scores.argmax(axis=1)
    return decided, scores[np.arange(len(scores)), decided]


def _infinite_to_none(thresholds: np.ndarray) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in thresholds]
