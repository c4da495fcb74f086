"""Abstention: both guarantees hold on data whose errors are known, and agree with scipy's and MAPIE's."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from accel_clf.targets.abstention import Abstention, error_bound, fit
from accel_clf.targets.scores import probabilities

SAMPLES = 400


@dataclass(frozen=True)
class Population:
    """Texts with a decided label and its score each; a decision is wrong with a known probability."""

    decided: np.ndarray
    highest: np.ndarray
    error: np.ndarray
    labels: int = 4

    def scores(self, rows: np.ndarray) -> np.ndarray:
        rest = (1 - self.highest[rows, None]) / (self.labels - 1)
        return np.where(np.arange(self.labels) == self.decided[rows, None], self.highest[rows, None], rest)

    def draw(self, rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Scores and right labels of rows drawn with replacement."""
        drawn = rng.integers(0, len(self.decided), rows)
        is_wrong = rng.random(rows) < self.error[drawn]
        return self.scores(drawn), (self.decided[drawn] + is_wrong * rng.integers(1, self.labels, rows)) % self.labels

    def error_among_answered(self, abstention: Abstention) -> float:
        """The exact share of wrong answers among those given, in the mean over labels drawn; 0 if none is."""
        is_answered, _ = abstention.answer(self.scores(np.arange(len(self.decided))))
        return float(self.error[is_answered].mean()) if is_answered.any() else 0.0


def population(kind: str) -> Population:
    rng = np.random.default_rng(0)
    decided, highest = rng.integers(0, 4, 5000), rng.uniform(0.3, 1, 5000)
    if kind == "tied scores":
        highest = np.ceil(highest * 10) / 10.5
    error = 1 - highest
    if kind == "labels differ":
        error = np.minimum(error * np.array([0.1, 0.5, 1.5, 4.0])[decided], 1)
    elif kind == "highest scores are the worst":
        error = np.where(highest > 0.95, 0.3, 0.1 * error)
    elif kind == "errors near the risk":
        error = np.full(5000, 0.101)
    return Population(decided, highest, error)


def make_scores(rng: np.random.Generator, labels: np.ndarray, signal: float = 1.0) -> np.ndarray:
    """Probabilities of a classifier that sees a right label by this much, in standard deviations of its noise."""
    n_labels = labels.max() + 1
    return probabilities(rng.normal(size=(len(labels), n_labels)) + signal * np.eye(n_labels)[labels])


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
@pytest.mark.parametrize(("wrong", "answered"), [(0, 1), (0, 59), (3, 100), (50, 51), (7, 7), (0, 0)])
def test_error_bound_is_the_exact_binomial_one(wrong: int, answered: int, confidence: float) -> None:
    exact = binomtest(wrong, answered, alternative="less").proportion_ci(confidence).high if answered else 1.0
    assert error_bound(wrong, answered, confidence) == pytest.approx(exact, abs=1e-12)


@pytest.mark.parametrize(
    "kind", ["calibrated", "labels differ", "tied scores", "highest scores are the worst", "errors near the risk"]
)
def test_error_among_answered_holds_at_the_confidence(kind: str) -> None:
    """In as many samples of calibration rows as promised, but for chance (with a probability below 1e-4)."""
    texts, rng = population(kind), np.random.default_rng(1)
    fitted = [fit(*texts.draw(rng, 800), risk=0.1, confidence=0.8) for _ in range(SAMPLES)]
    broken = [texts.error_among_answered(abstention) > 0.1 for abstention in fitted]
    assert binomtest(sum(broken), SAMPLES, 0.2, alternative="greater").pvalue > 1e-4


def test_as_many_are_answered_as_the_rows_can_vouch_for() -> None:
    """None by few rows, more by more, and by many nearly what could be if the errors were known."""
    texts, rng = population("calibrated"), np.random.default_rng(2)
    by_score = np.sort(texts.error)
    possible = float(np.mean(np.cumsum(by_score) / np.arange(1, 5001) <= 0.1))
    few, some, many = (fit(*texts.draw(rng, rows), risk=0.1).answered_share for rows in (20, 1000, 50_000))
    assert few == 0 < some < many < possible < many + 0.05


def test_labels_whose_scores_promise_too_much_need_higher_ones() -> None:
    """So that more is answered than by any one threshold for all labels, even one that knows the errors."""
    texts = population("labels differ")
    abstention = fit(*texts.draw(np.random.default_rng(3), 5000), risk=0.1)
    assert np.all(np.diff(abstention.thresholds) > 0)
    order = np.argsort(-texts.highest)
    errors = np.cumsum(texts.error[order]) / np.arange(1, 5001)
    assert abstention.answered_share > np.flatnonzero(errors <= 0.1).max() / 5000 + 0.1


@pytest.mark.parametrize("rows", [1, 2, 50, 2000])
def test_nothing_is_answered_where_no_answer_can_be_vouched_for(rows: int) -> None:
    rng = np.random.default_rng(4)
    scores = probabilities(rng.normal(size=(rows, 3)) * 5)
    abstention = fit(scores, rng.integers(0, 3, rows), risk=0.05)
    is_answered, sets = abstention.answer(scores)
    assert not is_answered.any() and np.isinf(abstention.thresholds).all()
    assert (abstention.error_bound, abstention.answered_share) == (1, 0)
    assert sets[np.arange(rows), scores.argmax(axis=1)].all()


def test_all_is_answered_where_all_can_be() -> None:
    """Also of labels that no calibration row has."""
    scores = probabilities(np.eye(3)[np.arange(600) % 2] * 9)
    abstention = fit(scores, np.arange(600) % 2, risk=0.05)
    is_answered, sets = abstention.answer(np.array([[0.9, 0.05, 0.05], [0.2, 0.3, 0.5]]))
    assert is_answered.all() and abstention.answered_share == 1
    assert abstention.error_bound == pytest.approx(1 - 0.05 ** (1 / 450))
    assert abstention.pooled_labels == (2,)
    assert sets.tolist() == [[True, False, True], [False, False, True]]  # nothing is known of the third label


def test_texts_of_equal_scores_are_treated_alike() -> None:
    """The whole of a tie is tested, so a tie with too many errors is not answered, in whatever order its rows come."""
    scores = np.repeat([[0.9, 0.1], [0.6, 0.4]], 1000, axis=0)
    labels = np.concatenate([np.zeros(1000, int), np.arange(1000) % 4 == 0]).astype(int)
    answers = set()
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(2000)
        abstention = fit(scores[order], labels[order], risk=0.05)
        answers.add(tuple(abstention.answer(np.array([[0.9, 0.1], [0.6, 0.4]]))[0].tolist()))
        assert abstention.answered_share == 0.5
    assert answers == {(True, False)}


def test_rows_may_come_in_any_order() -> None:
    """Sorted by label, as files often are, or as they are drawn: nearly as many are answered."""
    labels = np.sort(np.random.default_rng(10).integers(0, 8, 4000))
    scores = make_scores(np.random.default_rng(11), labels, 3.0)
    order = np.random.default_rng(12).permutation(4000)
    by_label, drawn = fit(scores, labels, risk=0.1), fit(scores[order], labels[order], risk=0.1)
    assert 0.6 < by_label.answered_share == pytest.approx(drawn.answered_share, abs=0.05)


class Passthrough:
    """A fitted classifier, as MAPIE asks for, whose inputs are the probabilities themselves."""

    def __init__(self, labels: int) -> None:
        self.classes_, self.n_features_in_ = np.arange(labels), labels

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        from sklearn.base import BaseEstimator

        return BaseEstimator().__sklearn_tags__()

    def fit(self, scores: np.ndarray, labels: np.ndarray) -> "Passthrough":
        return self

    def predict(self, scores: np.ndarray) -> np.ndarray:
        return self.classes_[scores.argmax(axis=1)]

    def predict_proba(self, scores: np.ndarray) -> np.ndarray:
        return scores


def mapie_sets(scores: np.ndarray, labels: np.ndarray, new: np.ndarray, risk: float) -> np.ndarray:
    """MAPIE's sets of labels, bool [new rows, labels].

    Ours always hold the decided label, MAPIE's do not. So probabilities are halved, but for that of the decided label,
    which is set to 0.5; what is then missing is given to a label that no row has.
    """
    classification = pytest.importorskip("mapie.classification")

    def with_decided(scores: np.ndarray) -> np.ndarray:
        is_decided = np.arange(scores.shape[1]) == scores.argmax(axis=1)[:, None]
        return np.column_stack([np.where(is_decided, 0.5, scores / 2), scores.max(axis=1) / 2])

    n_labels = scores.shape[1]
    mapie = classification.SplitConformalClassifier(
        Passthrough(n_labels + 1), confidence_level=1 - risk, conformity_score="lac", prefit=True
    )
    with pytest.warns(UserWarning, match="less labels"):
        mapie.conformalize(with_decided(scores), labels)
    sets: np.ndarray = mapie.predict_set(with_decided(new))[1][:, :n_labels, 0]
    return sets


@pytest.mark.parametrize("signal", [1.0, 4.0])
@pytest.mark.parametrize("risk", [0.02, 0.05, 0.1, 0.3])
def test_sets_are_mapies(risk: float, signal: float) -> None:
    """Those of its split conformal classifier, by least ambiguous sets, for rows of each label apart (Mondrian)."""
    rng = np.random.default_rng(5)
    labels = np.repeat(np.arange(3), [99, 199, 649])  # at these, the rank of a threshold among the scores changes
    scores, new = make_scores(rng, labels, signal), make_scores(rng, labels, signal)
    abstention = fit(scores, labels, risk)
    assert abstention.pooled_labels == ()
    of_label = [mapie_sets(scores[labels == label], labels[labels == label], new, risk)[:, label] for label in range(3)]
    assert np.array_equal(abstention.answer(new)[1], np.column_stack(of_label))


@pytest.mark.parametrize("risk", [0.05, 0.1, 0.3])
def test_sets_of_labels_with_few_rows_are_mapies_of_all_these_rows(risk: float) -> None:
    rng, labels = np.random.default_rng(6), np.repeat(np.arange(10), np.arange(39, 49))
    scores, new = make_scores(rng, labels, 2.0), make_scores(rng, labels, 2.0)
    abstention = fit(scores, labels, risk)
    assert abstention.pooled_labels == tuple(range(10))
    assert np.array_equal(abstention.answer(new)[1], mapie_sets(scores, labels, new, risk))


def test_sets_hold_the_right_label_as_often_as_promised_and_hardly_oftener() -> None:
    """In the mean over samples, for each label with a threshold of its own and over the others together."""
    rng = np.random.default_rng(7)
    coverage = []
    for _ in range(SAMPLES):
        labels, right = rng.choice(6, (2, 500), p=[0.5, 0.2, 0.09, 0.07, 0.07, 0.07])
        abstention = fit(make_scores(rng, labels), labels, risk=0.1)
        is_covered = abstention.answer(make_scores(rng, right))[1][np.arange(500), right]
        coverage.append([is_covered[mask].mean() for mask in (right == 0, right == 1, right > 1)])
    assert np.mean(coverage, axis=0) == pytest.approx([0.902, 0.905, 0.905], abs=0.006)


def test_sets_of_labels_with_few_rows_miss_no_more_than_the_risk_whichever_row_is_new() -> None:
    """Also where a label has 49 rows, just enough for a threshold of its own, unless the new row is one of them."""
    labels = np.repeat([0, 1], [49, 10])
    scores = np.full((59, 3), 0.01)
    scores[np.arange(59), labels] = np.linspace(0.02, 0.08, 59)  # the third label is decided, and never right
    scores[:, 2] = 1 - scores[:, :2].sum(axis=1)
    is_covered = []
    for new in range(59):
        others = np.arange(59) != new
        abstention = fit(scores[others], labels[others], risk=0.1)
        is_covered.append(abstention.answer(scores[new : new + 1])[1][0, labels[new]])
    assert np.mean(is_covered) >= 0.9


def test_decided_label_is_in_every_set() -> None:
    labels = np.arange(500) % 4
    scores = make_scores(np.random.default_rng(8), labels)
    for risk in (0.01, 0.5, 0.9):
        _, sets = fit(scores, labels, risk).answer(scores)
        assert sets[np.arange(500), scores.argmax(axis=1)].all()


@pytest.mark.parametrize("risk", [0.01, 0.1, 0.5])
def test_json_keeps_all(risk: float) -> None:
    """Thresholds that are infinite, of answers and of sets, too."""
    labels = np.arange(300) % 4
    scores = make_scores(np.random.default_rng(9), labels, 2.0)
    abstention = fit(scores, labels, risk)
    read = Abstention.from_json(json.loads(json.dumps(abstention.to_json(), allow_nan=False)))
    assert read.to_json() == abstention.to_json()
    for ours, theirs in zip(read.answer(scores), abstention.answer(scores), strict=True):
        assert np.array_equal(ours, theirs)
