"""Which rows are held out: a pure function of (labels, groups, seed)."""

import numpy as np

from accel_clf.errors import DataError


def quotas(counts: np.ndarray, rows: int, random: np.random.Generator) -> np.ndarray:
    """How many of `rows` rows each class has, in proportion: whole numbers, then the largest remainders, ties by lot.

    Args:
        counts: int64 [classes], rows a class.
        rows: at most counts.sum().
        random: draws the lots.

    Returns:
        int64 [classes].
    """
    exact = counts * (rows / counts.sum())
    whole: np.ndarray = np.floor(exact).astype(np.int64)
    by_remainder = np.lexsort((random.random(len(counts)), whole - exact))
    whole[by_remainder[: rows - whole.sum()]] += 1
    return whole


def holdout(labels: np.ndarray, groups: np.ndarray | None, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Part rows in two, each class in the same proportion, no group in both.

    Args:
        labels: int [rows], from 0.
        groups: int [rows], from 0, or None where every row stands alone.
        share: of the rows, to hold out. With groups it is met as nearly as whole groups allow.
        seed: decides which rows.

    Returns:
        (kept, held out): ascending int64 positions.

    Raises:
        DataError: no row could be held out.
    """
    counts, random = np.bincount(labels), np.random.default_rng(seed)
    wanted = np.minimum(quotas(counts, round(len(labels) * share), random), np.maximum(counts - 1, 0))
    if groups is None:
        held = _draw(labels, wanted, random)
    else:
        held = np.flatnonzero(np.isin(groups, _groups_for(labels, groups, wanted, random)))
    if not 0 < len(held) < len(labels):
        raise DataError(
            f"a share of {share} of {len(labels)} rows"
            + (f" in {len(np.unique(groups))} groups" if groups is not None else "")
            + " leaves one side without rows",
            "rows to train on and rows to validate on",
            "give more rows, another --data.validation share, or a file of validation rows",
        )
    return np.setdiff1d(np.arange(len(labels)), held), np.sort(held)


def _groups_for(labels: np.ndarray, groups: np.ndarray, wanted: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Groups whose rows come near `wanted` rows a class: largest first, each taken if it brings the sum nearer."""
    numbers, place = np.unique(groups, return_inverse=True)
    histograms = np.zeros((len(numbers), len(wanted)), np.int64)
    np.add.at(histograms, (place, labels), 1)
    order = random.permutation(len(numbers))
    order = order[np.argsort(-histograms[order].sum(axis=1), kind="stable")]
    missing = wanted.astype(np.int64)
    taken = []
    for group in order:
        left = missing - histograms[group]
        if (left**2).sum() < (missing**2).sum():
            missing = left
            taken.append(group)
    return numbers[taken]


def sample(labels: np.ndarray, rows: int, seed: int) -> np.ndarray:
    """Positions (ascending) of `rows` rows, the classes in proportion but none left out; all where there are no more.

    Raises:
        DataError: there are more classes than `rows`.
    """
    counts, random = np.bincount(labels), np.random.default_rng(seed)
    if rows >= len(labels):
        return np.arange(len(labels))
    if rows < len(counts):
        raise DataError(f"data.limit is {rows}, and there are {len(counts)} labels", "a row of each label at least")
    one_each = np.minimum(counts, 1)
    wanted = one_each + quotas(counts - one_each, rows - one_each.sum(), random)
    return np.sort(_draw(labels, wanted, random))


def _draw(labels: np.ndarray, wanted: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Positions of wanted[c] rows of each class c, drawn by lot."""
    shuffled = random.permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    starts = np.concatenate([[0], np.cumsum(np.bincount(labels))[:-1]])
    rank_in_class = np.arange(len(labels)) - starts[labels[by_class]]
    drawn: np.ndarray = by_class[rank_in_class < wanted[labels[by_class]]]
    return drawn
