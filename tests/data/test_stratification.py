"""Rows with several labels are dealt to parts in even shares of each label, with groups kept whole."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accel_clf.core.errors import DataError
from accel_clf.data import stratification
from accel_clf.data.splitting import folds, holdout, sample
from accel_clf.data.stratification import deal

FIFTHS = [0.2] * 5


@st.composite
def indicator_rows(draw: st.DrawFn, min_rows: int = 1) -> np.ndarray:
    """Rows of 0 to 6 labels, sparse or dense, some without a label."""
    rows, labels = draw(st.integers(min_rows, 60)), draw(st.integers(0, 6))
    frequency = draw(st.sampled_from([0.05, 0.3, 0.8]))
    return (np.random.default_rng(draw(st.integers(0, 999))).random((rows, labels)) < frequency).astype(np.int8)


@st.composite
def grouped_rows(draw: st.DrawFn, min_rows: int = 1) -> tuple[np.ndarray, np.ndarray | None]:
    indicators = draw(indicator_rows(min_rows))
    group_count = draw(st.none() | st.integers(1, 40))
    if group_count is None:
        return indicators, None
    return indicators, np.random.default_rng(draw(st.integers(0, 999))).integers(0, group_count, len(indicators))


def zipf_rows(rows: int, labels: int, most: int, seed: int) -> np.ndarray:
    """Rows of 0 to `most` labels, whose frequencies follow Zipf's law."""
    random = np.random.default_rng(seed)
    frequencies = 1 / np.arange(1, labels + 1)
    drawn = random.choice(labels, (rows, most), p=frequencies / frequencies.sum())
    row, column = np.nonzero(np.arange(most) < random.integers(0, most + 1, rows)[:, None])
    indicators = np.zeros((rows, labels), np.int8)
    indicators[row, drawn[row, column]] = 1
    return indicators


def correlated_rows(rows: int, labels: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    scores = random.normal(size=(rows, 4)) @ random.normal(size=(4, labels)) + random.normal(size=(rows, labels))
    return (scores > random.uniform(0, 5, labels)).astype(np.int8)


def dense_rows(rows: int, labels: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return (random.random((rows, labels)) < random.beta(1, 3, labels)).astype(np.int8)


def small_groups(rows: int, seed: int) -> np.ndarray:
    """Random groups of 1 to 4 rows."""
    random = np.random.default_rng(seed)
    return random.permutation(np.repeat(np.arange(rows), random.integers(1, 5, rows))[:rows])


def joined_utterances(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of 0 to 3 utterances, of 100 in each of 20 intents; indicators and groups, which are the first utterance."""
    random = np.random.default_rng(seed)
    drawn = random.integers(0, 2000, (rows, 3))
    row, column = np.nonzero(np.arange(3) < random.integers(0, 4, rows)[:, None])
    indicators = np.zeros((rows, 20), np.int8)
    indicators[row, drawn[row, column] // 100] = 1
    return indicators, np.where(np.isin(np.arange(rows), row), drawn[:, 0], 2000 + np.arange(rows))


def unevenness(indicators: np.ndarray, part: np.ndarray) -> float:
    """The mean, over labels and parts, of the distance of a label's share in the part from its share in all rows."""
    return float(
        np.mean([abs(indicators[part == index].mean(0) - indicators.mean(0)) for index in range(part.max() + 1)])
    )


def assert_groups_whole(groups: np.ndarray, part: np.ndarray) -> None:
    assert len(np.unique(np.stack([groups, part]), axis=1).T) == len(np.unique(groups))


@given(grouped_rows(), st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(0, 9))
def test_all_rows_are_dealt_in_whole_groups(
    rows: tuple[np.ndarray, np.ndarray | None], sizes: list[int], seed: int
) -> None:
    indicators, groups = rows
    shares = [size / sum(sizes) for size in sizes]
    part = deal(indicators, groups, shares, seed)
    assert part.dtype == np.int64 and part.shape == (len(indicators),)
    units = np.arange(len(indicators)) if groups is None else groups
    assert_groups_whole(units, part)
    assert len(set(part.tolist())) == min(len(sizes), len(np.unique(units))), "a part is empty"
    assert np.array_equal(part, deal(indicators.astype(bool), groups, shares, seed))
    if groups is None and len(indicators) * min(shares) >= 1:
        assert (abs(np.bincount(part, minlength=len(sizes)) - len(indicators) * np.array(shares)) < 1).all()


@pytest.mark.parametrize("seed", [2, 7])
def test_rows_without_a_label_are_spread_as_those_of_a_label(seed: int) -> None:
    indicators = dense_rows(400, 4, seed)
    unlabelled = ~indicators.any(axis=1)
    assert np.ptp(np.bincount(deal(indicators, None, FIFTHS, seed)[unlabelled])) <= 1
    fold = folds(indicators, np.arange(400) % 3, None, 5, seed)
    assert np.ptp(np.bincount(fold[unlabelled])) <= 1, "slices are no labels"


@pytest.mark.parametrize("seed", range(3))
def test_parts_have_exact_sizes_however_many_labels_pull(seed: int) -> None:
    indicators = dense_rows(503, 100, seed)
    assert sorted(np.bincount(deal(indicators, None, FIFTHS, seed))) == [100, 100, 101, 101, 101]
    assert np.bincount(deal(indicators, None, [0.6, 0.3, 0.1], seed)).tolist() == [302, 151, 50]


def test_parts_of_all_sizes_fill_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where rows are too many for exchanges to make up for a large part that fills first."""
    monkeypatch.setattr(stratification, "MAX_EXCHANGES", 0)
    indicators = zipf_rows(20_000, 30, 5, seed=0)
    columns = np.column_stack([indicators, ~indicators.any(axis=1)])
    part = deal(indicators, None, [0.9, 0.07, 0.03], 0)
    for index, share in enumerate([0.9, 0.07, 0.03]):
        assert abs(columns[part == index].sum(axis=0) - columns.sum(axis=0) * share).max() < 4


@pytest.mark.parametrize("seed", [1, 4])
def test_large_groups_are_placed_first(seed: int) -> None:
    """Group sizes by Pareto's law, up to a tenth of all rows: small ones, placed last, make up for large ones."""
    group_sizes = np.minimum(np.random.default_rng(seed).pareto(1, 5000) + 1, 500).astype(int)
    groups = np.repeat(np.arange(5000), group_sizes)[:5000]
    indicators = zipf_rows(5000, 30, 5, seed)
    part = deal(indicators, groups, FIFTHS, seed)
    assert np.ptp(np.bincount(part)) <= 1
    assert unevenness(indicators, part) < 4.5e-4


def test_exchanges_improve_on_the_first_placing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred labels on 500 rows in groups: units placed early are exchanged once all are placed."""
    indicators, groups = dense_rows(500, 100, seed=0), small_groups(500, seed=0)
    exchanged = unevenness(indicators, deal(indicators, groups, FIFTHS, 0))
    monkeypatch.setattr(stratification, "MAX_EXCHANGES", 0)
    assert exchanged < 0.85 * unevenness(indicators, deal(indicators, groups, FIFTHS, 0))


@pytest.mark.parametrize("grouped", [False, True])
def test_order_of_addition_makes_no_difference(grouped: bool) -> None:
    """Sums are exact: machines whose libraries add in other orders deal the same parts."""
    indicators, groups = zipf_rows(2000, 30, 5, seed=0), small_groups(2000, seed=0) if grouped else None
    shuffled = indicators[:, np.random.default_rng(0).permutation(30)]
    for shares in (FIFTHS, [0.55, 0.3, 0.15]):
        assert np.array_equal(deal(indicators, groups, shares, 0), deal(shuffled, groups, shares, 0))


def test_seeds_deal_equal_rows_differently() -> None:
    indicators = np.ones((200, 1), np.int8)
    assert not np.array_equal(deal(indicators, None, FIFTHS, 0), deal(indicators, None, FIFTHS, 1))


@pytest.mark.parametrize("grouped", [False, True])
def test_many_rows_are_spread_to_the_row(grouped: bool) -> None:
    """20,000 rows of 100 labels: each label's count in each fold is within two rows of its share."""
    indicators = zipf_rows(20_000, 100, 5, seed=0)
    fold = folds(indicators, None, small_groups(20_000, seed=0) if grouped else None, 5, 0)
    counts = np.array([indicators[fold == index].sum(axis=0) for index in range(5)])
    assert abs(counts - indicators.sum(axis=0) / 5).max() < 2
    assert np.bincount(fold).tolist() == [4000] * 5


@pytest.mark.parametrize("data", ["zipf", "rare", "correlated", "dense", "wide", "utterances"])
@pytest.mark.parametrize("seed", [0, 1])
def test_folds_are_as_even_as_iterative_stratification(data: str, seed: int) -> None:
    """Ours keeps groups of 1 to 4 rows whole; the reference has no groups to keep."""
    reference = pytest.importorskip("iterstrat.ml_stratifiers")
    groups = None
    if data == "utterances":
        indicators, groups = joined_utterances(3000, seed)
    else:
        indicators = {
            "zipf": lambda: zipf_rows(2000, 30, 5, seed),
            "rare": lambda: zipf_rows(3000, 300, 5, seed),
            "correlated": lambda: correlated_rows(3000, 25, seed),
            "dense": lambda: dense_rows(1000, 20, seed),
            "wide": lambda: dense_rows(500, 100, seed),
        }[data]()
    groups = small_groups(len(indicators), seed) if groups is None else groups
    split = reference.MultilabelStratifiedKFold(n_splits=5, shuffle=True, random_state=seed).split(
        np.zeros(len(indicators)), indicators
    )
    reference_fold = np.empty(len(indicators), np.int64)
    for index, (_, held_out) in enumerate(split):
        reference_fold[held_out] = index
    limit = 1.1 * unevenness(indicators, reference_fold)
    grouped = folds(indicators, None, groups, 5, seed)
    assert_groups_whole(groups, grouped)
    assert unevenness(indicators, grouped) <= limit
    assert unevenness(indicators, folds(indicators, None, None, 5, seed)) <= limit


@given(grouped_rows(), st.integers(2, 5), st.integers(0, 3), st.integers(0, 9))
def test_folds_of_indicators_are_even(
    rows: tuple[np.ndarray, np.ndarray | None], count: int, slices: int, seed: int
) -> None:
    indicators, groups = rows
    languages = np.arange(len(indicators)) % slices if slices else None
    unit_count = len(indicators if groups is None else np.unique(groups))
    if unit_count < count:
        unit = "rows" if groups is None else r"groups \(data.group\)"
        with pytest.raises(DataError, match=rf"error: {unit_count} {unit} for {count} folds"):
            folds(indicators, languages, groups, count, seed)
        return
    fold = folds(indicators, languages, groups, count, seed)
    assert set(fold.tolist()) == set(range(count))
    if groups is None:
        assert np.ptp(np.bincount(fold)) <= 1
    else:
        assert_groups_whole(groups, fold)


def test_rare_labels_are_spread_as_far_as_they_go() -> None:
    indicators = np.zeros((100, 2), np.int8)
    indicators[[3, 50, 97], 0] = 1
    indicators[::2, 1] = 1
    fold = folds(indicators, None, None, 5, 0)
    assert len(set(fold[indicators[:, 0] == 1].tolist())) == 3


def test_folds_of_indicators_have_even_slices() -> None:
    slices = np.repeat([0, 1, 2], [100, 300, 600])
    fold = folds(zipf_rows(1000, 8, 3, seed=2), slices, None, 5, 0)
    for code in range(3):
        assert np.ptp(np.bincount(fold[slices == code], minlength=5)) <= 1


@given(grouped_rows(min_rows=2), st.floats(0.05, 0.95), st.integers(0, 9))
def test_holdout_keeps_every_label(rows: tuple[np.ndarray, np.ndarray | None], share: float, seed: int) -> None:
    indicators, groups = rows
    units = np.arange(len(indicators)) if groups is None else groups
    try:
        kept, held_out = holdout(indicators, groups, share, seed)
    except DataError:
        # One group, or rare labels on all the rows that were held out.
        assert len(np.unique(units)) == 1 or indicators.any()
        return
    assert np.array_equal(np.sort(np.concatenate([kept, held_out])), np.arange(len(indicators)))
    assert not set(units[kept].tolist()) & set(units[held_out].tolist())
    for label in indicators.T:
        assert label[kept].any() or len(np.unique(units[label == 1])) < 2
    assert np.array_equal(held_out, holdout(indicators, groups, share, seed)[1])


def test_holdout_of_most_rows_keeps_one_of_each_label() -> None:
    """Nine tenths of two rows of each label are both, unless one is kept."""
    indicators = np.repeat(np.eye(10, dtype=np.int8), 2, axis=0)
    kept, _ = holdout(indicators, None, 0.9, seed=0)
    assert indicators[kept].sum(axis=0).tolist() == [1] * 10


@pytest.mark.parametrize("grouped", [False, True])
def test_holdout_has_its_share_of_each_label(grouped: bool) -> None:
    indicators = zipf_rows(4000, 20, 4, seed=1)
    _, held_out = holdout(indicators, small_groups(4000, seed=1) if grouped else None, 0.1, seed=0)
    assert len(held_out) == 400
    assert abs(indicators[held_out].sum(axis=0) - indicators.sum(axis=0) / 10).max() < 2


@given(indicator_rows(), st.data(), st.integers(0, 9))
def test_sample_has_exactly_its_rows(indicators: np.ndarray, data: st.DataObject, seed: int) -> None:
    rows = data.draw(st.integers(1, len(indicators)))
    drawn = sample(indicators, rows, seed)
    assert len(drawn) == rows and (np.diff(drawn) > 0).all()
    if rows >= indicators.shape[1]:
        assert np.array_equal(indicators[drawn].any(axis=0), indicators.any(axis=0))
    assert np.array_equal(drawn, sample(indicators, rows, seed))


def test_sample_is_stratified_and_has_the_rarest_label() -> None:
    indicators = np.column_stack([zipf_rows(4000, 20, 4, seed=1), np.arange(4000) == 1234])
    drawn = sample(indicators, 400, seed=0)
    assert 1234 in drawn
    assert abs(indicators[drawn].sum(axis=0) - indicators.sum(axis=0) / 10).max() < 2


def test_sample_of_few_rows_has_the_rarest_labels() -> None:
    indicators = np.repeat(np.eye(5, dtype=np.int8), [40, 30, 3, 2, 1], axis=0)
    assert set(np.flatnonzero(indicators[sample(indicators, 2, seed=0)].any(axis=0)).tolist()) == {3, 4}
    assert len(sample(indicators, 100, seed=0)) == 76
