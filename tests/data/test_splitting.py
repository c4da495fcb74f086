"""Splits are stratified, grouped and reproducible, whatever the rows."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from accel_clf.core.errors import DataError
from accel_clf.data.splitting import divided_groups, folds, folds_per_label, holdout, quotas, sample

LABELS = st.lists(st.integers(0, 4), min_size=20, max_size=300).map(lambda codes: np.array(codes, np.int32))


@given(LABELS, st.floats(0.1, 0.5), st.integers(0, 100))
def test_holdout_is_stratified(labels: np.ndarray, share: float, seed: int) -> None:
    kept, held_out = holdout(labels, None, share, seed)
    assert np.array_equal(np.sort(np.concatenate([kept, held_out])), np.arange(len(labels)))
    for code, count in enumerate(np.bincount(labels)):
        of_class = int((labels[held_out] == code).sum())
        assert of_class <= max(0, count - 1)
        assert abs(of_class - count * share) <= 1
    repeated = holdout(labels, None, share, seed)[1]
    assert np.array_equal(held_out, repeated)


@given(LABELS, st.data(), st.integers(0, 100))
def test_groups_are_never_divided(labels: np.ndarray, data: st.DataObject, seed: int) -> None:
    groups = np.array(data.draw(st.lists(st.integers(0, 30), min_size=len(labels), max_size=len(labels))))
    try:
        kept, held_out = holdout(labels, groups, 0.3, seed)
    except DataError:
        assume(False)  # no group is small enough
    assert not set(groups[kept]) & set(groups[held_out])
    assert len(kept) + len(held_out) == len(labels)


def test_small_groups_meet_the_share() -> None:
    labels = np.arange(1000) % 3
    _, held_out = holdout(labels, np.arange(1000) // 4, 0.2, seed=1)
    assert len(held_out) in range(196, 205)
    assert np.bincount(labels[held_out]).min() >= 60


@given(st.lists(st.integers(0, 50), min_size=1, max_size=200), st.data())
def test_quotas_are_proportional(counts: list[int], data: st.DataObject) -> None:
    array = np.array(counts)
    assume(array.sum() > 0)
    rows = data.draw(st.integers(0, int(array.sum())))
    apportioned = quotas(array, rows, np.random.default_rng(0))
    assert apportioned.sum() == rows
    assert (np.abs(apportioned - array * rows / array.sum()) < 1).all()
    assert (apportioned <= array).all()


def test_ties_are_broken_at_random() -> None:
    """A tenth of 500 classes of 5 rows is half a row each: different classes hold one out for each seed."""
    labels = np.arange(2500) % 500
    held_out = [set(labels[holdout(labels, None, 0.1, seed)[1]]) for seed in (0, 1)]
    assert all(len(classes) == 250 and max(classes) > 400 for classes in held_out)
    assert held_out[0] != held_out[1]


@given(LABELS, st.data(), st.integers(0, 9))
def test_sample_has_rows_of_every_class(labels: np.ndarray, data: st.DataObject, seed: int) -> None:
    labels = np.unique(labels, return_inverse=True)[1]
    rows = data.draw(st.integers(labels.max() + 1, len(labels)))
    drawn = sample(labels, rows, seed)
    assert len(drawn) == len(set(drawn)) == rows
    assert set(labels[drawn]) == set(labels)


def test_seeds_give_different_splits() -> None:
    labels = np.arange(100) % 2
    assert not np.array_equal(holdout(labels, None, 0.2, 0)[1], holdout(labels, None, 0.2, 1)[1])


def test_sample_takes_all_rows_if_there_are_no_more() -> None:
    labels = np.array([0, 0, 1, 1])
    assert np.array_equal(sample(labels, 4, 0), np.arange(4))
    assert len(sample(np.arange(100) % 2, 10, 0)) == 10


@given(LABELS, st.integers(2, 5), st.integers(0, 3), st.integers(0, 100))
def test_folds_are_even(labels: np.ndarray, count: int, slices: int, seed: int) -> None:
    """Also those of labels with fewer rows than there are folds: each of their rows is in a fold of its own."""
    languages = np.arange(len(labels)) % slices if slices else None
    fold = folds(labels, languages, None, count, seed)
    assert np.ptp(np.bincount(fold, minlength=count)) <= 1
    for code in np.unique(labels):
        assert np.ptp(np.bincount(fold[labels == code], minlength=count)) <= 1
        for language in np.unique(languages) if languages is not None else ():
            cell = (labels == code) & (languages == language)
            assert np.ptp(np.bincount(fold[cell], minlength=count)) <= 1
    assert np.array_equal(fold, folds(labels, languages, None, count, seed))


@given(LABELS, st.integers(2, 5), st.data())
def test_folds_do_not_divide_groups(labels: np.ndarray, count: int, data: st.DataObject) -> None:
    groups = np.array(data.draw(st.lists(st.integers(0, 30), min_size=len(labels), max_size=len(labels))))
    assume(len(np.unique(groups)) >= count)
    fold = folds(labels, None, groups, count, 0)
    assert not len(divided_groups(groups, fold))
    assert set(fold) == set(range(count))


@given(LABELS, st.integers(2, 5), st.integers(0, 100))
def test_rows_and_folds_of_labels_are_counted(labels: np.ndarray, count: int, seed: int) -> None:
    fold = np.random.default_rng(seed).integers(count, size=len(labels))
    rows, spread = folds_per_label(labels, fold, count)
    assert rows.tolist() == [int((labels == code).sum()) for code in range(labels.max() + 1)]
    assert spread.tolist() == [len(set(fold[labels == code])) for code in range(labels.max() + 1)]
    indicators = (labels[:, None] == np.arange(labels.max() + 1)).astype(np.int8)
    assert np.array_equal(folds_per_label(indicators, fold, count), (rows, spread))


def test_divided_groups_are_found() -> None:
    groups, fold = np.array([3, 3, 1, 1, 2, 2, 2]), np.array([0, 1, 2, 2, 0, 0, 1])
    assert divided_groups(groups, fold).tolist() == [2, 3]


def test_folds_of_small_groups_are_nearly_even() -> None:
    """Translations: each group has a row in each of four languages, and a single label."""
    groups = np.arange(2000) // 4
    labels, slices = groups % 3, np.arange(2000) % 4
    fold = folds(labels, slices, groups, 5, 1)
    assert np.bincount(fold).tolist() == [400] * 5
    for code in range(3):
        assert np.ptp(np.bincount(fold[labels == code])) <= 4
        assert np.ptp(np.bincount(fold[(labels == code) & (slices == 2)])) <= 1
    assert not np.array_equal(fold, folds(labels, slices, groups, 5, 2))


def test_too_few_rows_and_groups_for_the_folds_are_refused() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1])
    with pytest.raises(DataError, match="3 groups"):
        folds(labels, None, np.array([0, 0, 1, 1, 2, 2]), 4, 0)
    with pytest.raises(DataError, match="6 rows for 7 folds"):
        folds(labels, None, None, 7, 0)
