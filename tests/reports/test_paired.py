"""Statistics of two models on the same rows, against scipy, published figures and simulations."""

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import minimize_scalar
from scipy.special import xlogy

from accel_clf.reports.compare.paired import (
    Discordance,
    OfFolds,
    OfShares,
    Resampled,
    holm,
    mcnemar_p,
    resample_weights,
)
from benchmarks.intervals import of_classes, of_folds, simulate

ROWS = [(0, 0), (1, 0), (5, 0), (0, 6), (6, 16), (9, 9), (40, 25), (300, 340)]  # right by one model alone


def counts(baseline: int, other: int, rows: int = 1000) -> Discordance:
    return Discordance(rows - baseline - other - 10, baseline, other, 10)


@pytest.mark.parametrize(("baseline", "other"), ROWS)
def test_mcnemar_is_the_binomial_test(baseline: int, other: int) -> None:
    exact, mid = mcnemar_p(counts(baseline, other))
    discordant = baseline + other
    expected = stats.binomtest(other, discordant).pvalue if discordant else 1.0
    assert exact == pytest.approx(expected)
    as_likely = stats.binom.pmf(other, discordant, 0.5)
    assert mid == pytest.approx(expected - as_likely if baseline != other else 1.0)


@pytest.mark.parametrize(("baseline", "other"), ROWS)
@pytest.mark.parametrize("margin", [-0.03, 0.0, 0.02])
def test_score_test_is_that_of_the_likeliest_shares(baseline: int, other: int, margin: float) -> None:
    """The variance is that of the shares that maximize the likelihood where the margin is true, by search."""
    rows = 1000
    low, high = max(0.0, -margin), (1 - margin) / 2

    def minus_log_likelihood(share: float) -> float:
        shares = [share, share + margin, 1 - 2 * share - margin]
        return -float(np.sum(xlogy([baseline, other, rows - baseline - other], np.clip(shares, 1e-300, 1))))

    share = minimize_scalar(minus_log_likelihood, bounds=(low, high), options={"xatol": 1e-12}).x
    deviation = np.sqrt(rows * max(0.0, 2 * share + margin - margin**2))
    distance = other - baseline - rows * margin
    z = 0.0 if distance == 0 else distance / deviation
    exact = stats.binomtest(other, baseline + other).pvalue if baseline + other else 1.0
    below, above = 2 * stats.norm.cdf(z), 2 * stats.norm.sf(z)
    if margin <= 0:
        below = max(below, exact if other < baseline else 1.0)
    if margin >= 0:
        above = max(above, exact if other > baseline else 1.0)
    assert OfShares(counts(baseline, other)).p(margin) == pytest.approx((min(1, below), min(1, above)), abs=1e-4)


def test_equal_models_may_differ_in_other_rows() -> None:
    z = stats.norm.ppf(0.975)
    low, high = OfShares(Discordance(30, 0, 0, 14)).interval()
    assert (low, high) == pytest.approx((-(z**2) / (44 + z**2), z**2 / (44 + z**2)))


@pytest.mark.parametrize(("baseline", "other"), ROWS)
def test_margins_at_the_ends_of_the_interval_are_just_rejected(baseline: int, other: int) -> None:
    evidence = OfShares(counts(baseline, other))
    low, high = evidence.interval()
    assert low < (other - baseline) / 1000 < high
    for end, side in ((low, 1), (high, 0)):
        if (side == 1 and end < 0) or (side == 0 and end > 0):  # beyond 0 McNemar's exact test has a say
            assert evidence.p(end)[side] == pytest.approx(0.05, abs=1e-6)


def test_all_rows_may_be_discordant() -> None:
    assert OfShares(Discordance(0, 0, 30, 0)).interval().high == 1
    assert OfShares(Discordance(0, 30, 0, 0)).interval().low == -1


def test_bootstrap_is_that_of_scipy() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.gamma(2.0, size=(2, 300))
    second = 0.5 * first + second
    drawn = np.concatenate([(second - first) @ weights / 300 for weights in resample_weights(300, 20_000)])
    reference = stats.bootstrap(
        (first, second),
        lambda a, b, axis: b.mean(axis=axis) - a.mean(axis=axis),
        paired=True, method="percentile", n_resamples=20_000, rng=1,
    )  # fmt: skip
    interval = Resampled(drawn).interval()
    width = reference.confidence_interval.high - reference.confidence_interval.low
    assert interval == pytest.approx(tuple(reference.confidence_interval), abs=0.02 * width)
    assert drawn.std() == pytest.approx(reference.standard_error, rel=0.03)


@pytest.mark.parametrize("groups", [None, np.repeat(np.arange(50), 4), np.arange(200) % 3])
def test_resamples_draw_rows_or_groups_whole(groups: np.ndarray | None) -> None:
    weights = np.hstack(list(resample_weights(200, 30, groups)))
    assert weights.shape == (200, 30)
    assert np.array_equal(weights, np.hstack(list(resample_weights(200, 30, groups)))), "the same each time"
    units = weights if groups is None else np.stack([weights[groups == code][0] for code in np.unique(groups)])
    assert (units.sum(axis=0) == len(units)).all()
    if groups is not None:
        assert all((weights[groups == code] == weights[groups == code][0]).all() for code in np.unique(groups))


def test_many_rows_are_drawn_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accel_clf.reports.compare.paired.CELLS", 1000)
    parts = list(resample_weights(300, 10))
    assert [part.shape[1] for part in parts] == [3, 3, 3, 1]


def test_resampled_p_agrees_with_the_interval() -> None:
    rng = np.random.default_rng(0)
    for shift in (-0.5, 0.0, 1.0, 1.9, 2.1, 4.0, 9.0):
        evidence = Resampled(rng.normal(shift, 1.0, 2000))
        low, high = evidence.interval()
        for margin in (-3.0, -1.0, 0.0, 0.5, 3.0, 8.0):
            below, above = evidence.p(margin)
            assert (above <= 0.05) == (margin < low)
            assert (below <= 0.05) == (margin > high)
    assert Resampled(rng.normal(9.0, 1.0, 2000)).two_sided_p() < 1e-12, "not bounded by the number of resamples"
    assert Resampled(np.full(100, np.nan)).two_sided_p() == 1.0
    assert np.isnan(Resampled(np.full(100, np.nan)).interval()).all()


def test_a_few_rows_show_nothing_however_alike_resamples_are() -> None:
    """Five rows of one side have a p-value of 1/16, as by McNemar's test."""
    assert Resampled(np.full(2000, 0.2), differing=5).p() == (1.0, 0.0625)
    assert Resampled(np.full(2000, 0.2), differing=60).two_sided_p() < 0.01
    assert Resampled(np.zeros(2000), differing=0).two_sided_p() == 1.0
    assert Resampled(np.full(2000, 0.2), differing=5).p(-0.1) == (1.0, 0.0625), "beyond a margin, too"
    assert np.isnan(Resampled(np.full(2000, 0.2), differing=5).interval()).all()


SURE = Resampled(np.random.default_rng(0).normal(0.018, 1e-4, 2000))  # rows that leave all doubt to the folds


def test_folds_are_the_corrected_t_test() -> None:
    """By the formula of Nadeau & Bengio, with n2/n1 = 1/4; the uncorrected test is scipy's."""
    differences = np.array([0.01, 0.03, -0.01, 0.02, 0.04])
    evidence = OfFolds(differences, SURE)
    t = differences.mean() / np.sqrt((1 / 5 + 1 / 4) * differences.var(ddof=1))
    assert evidence.two_sided_p() == pytest.approx(2 * stats.t.sf(t, 4))
    uncorrected = stats.ttest_1samp(differences, 0.0)
    assert uncorrected.statistic / t == pytest.approx(np.sqrt((1 / 5 + 1 / 4) / (1 / 5)))
    low, high = evidence.interval()
    assert evidence.p(low)[1] == pytest.approx(0.05)
    assert evidence.p(high)[0] == pytest.approx(0.05)


def test_folds_without_a_value_are_left_out() -> None:
    assert OfFolds(np.array([0.1, np.nan, np.nan]), SURE).p() == (1.0, 1.0)
    assert np.isnan(OfFolds(np.array([0.1, np.nan]), SURE).interval()).all()
    assert OfFolds(np.array([0.1, 0.2, np.nan]), SURE).interval().low < 0.15
    assert OfFolds(np.zeros(5), SURE).p() == (1.0, 1.0)


@pytest.mark.parametrize(("baseline", "other"), ROWS)
@pytest.mark.parametrize("spread", [0.0, 1e-6, 1e-3])
def test_folds_that_agree_are_no_surer_than_their_rows(baseline: int, other: int, spread: float) -> None:
    """However alike folds are: one row in each of three is right by the one model alone, and the t-test is certain."""
    of_rows = OfShares(counts(baseline, other))
    differences = (other - baseline) / 1000 + spread * np.array([-1, 0, 1])
    evidence = OfFolds(differences, of_rows)
    outer, inner = evidence.interval(), of_rows.interval()
    assert outer.low <= inner.low < inner.high <= outer.high
    for margin in (-0.05, -0.005, -1e-6, 0.0, 0.01, 0.1):
        assert all(p >= bound for p, bound in zip(evidence.p(margin), of_rows.p(margin), strict=True))
        below, above = evidence.p(margin)
        assert below > 0.05 or margin > outer.high
        assert above > 0.05 or margin < outer.low


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize(("rows", "baseline", "other"), [(100, 0.08, 0.06), (1000, 0.02, 0.02), (400, 0.05, 0.15)])
def test_intervals_of_one_split_cover_the_truth(rows: int, baseline: float, other: float) -> None:
    """93 to 97% of 1,000 simulations; and a run that is worse by the margin, and no more, fails in 5% at most."""
    drawn = np.random.default_rng(0).multinomial(rows, [0.7, baseline, other, 0.3 - baseline - other], 1000)
    evidence = [OfShares(Discordance(*map(int, row))) for row in drawn]
    covered = [of.interval().low <= other - baseline <= of.interval().high for of in evidence]
    assert 0.93 <= np.mean(covered) <= 0.97
    assert np.mean([of.p(other - baseline)[0] <= 0.05 for of in evidence]) <= 0.05


def test_bootstrap_intervals_cover_the_truth() -> None:
    """`python -m benchmarks.intervals` does more, for minutes."""
    rates = simulate(of_classes(300, "macro_f1", large=100_000), 150)
    assert 0.93 <= rates.covered <= 0.97
    assert rates.alarms <= 0.05


def test_intervals_of_folds_cover_the_truth() -> None:
    rates = simulate(of_folds(200, ridge=60.0, training_sets=300), 150)
    assert rates.covered >= 0.93
    assert rates.alarms <= 0.05
