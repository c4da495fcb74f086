"""Which rows are held out: a pure function of (labels, slices, groups, seed)."""

from collections.abc import Sequence

import numpy as np

from accel_clf.core.errors import DataError


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


def folds(
    labels: np.ndarray,
    slices: np.ndarray | None,
    groups: np.ndarray | None,
    count: int,
    seed: int,
    names: Sequence[str],
) -> np.ndarray:
    """Deal rows out to folds: each label, and each label of each slice, evenly; no group to two folds.

    Without groups no two folds differ by more than a row, neither as a whole nor in any label or label of a slice. With
    groups they are as even as whole groups allow; a label of a slice counts where it has a row for each fold.

    Args:
        labels: int [rows], from 0.
        slices: int [rows], from 0, or None.
        groups: int [rows], or None where every row stands alone.
        count: how many folds.
        seed: decides which rows.
        names: of the labels, for messages.

    Returns:
        int64 [rows]: the fold that holds the row out.

    Raises:
        DataError: a label, or the groups, are too few for each fold to have one.
    """
    random = np.random.default_rng(seed)
    slices = np.zeros_like(labels) if slices is None else slices
    _check_enough(labels, groups, count, names)
    fold = np.empty(len(labels), np.int64)
    if groups is None:
        fold[np.lexsort((random.permutation(len(labels)), slices, labels))] = np.arange(len(labels)) % count
    else:
        fold = _deal_groups(_strata(labels, slices, count), groups, count, random)
    for code in np.unique(labels):
        if lacking := sorted(set(range(count)) - set(fold[labels == code].tolist())):
            raise DataError(
                f"label {names[code]!r} does not reach fold {lacking[0]}, so unevenly is it spread over groups",
                f"rows of every label in each of {count} folds",
                "fewer --folds, or more rows of that label",
            )
    return fold


def check_apart(groups: np.ndarray, fold: np.ndarray, names: Sequence[str]) -> None:
    """Whether every group is in one fold only.

    Args:
        groups: int [rows].
        fold: int [rows].
        names: of the groups.

    Raises:
        DataError: one is not.
    """
    pairs = np.unique(np.stack([groups, fold], axis=1), axis=0)
    numbers, folds_of = np.unique(pairs[:, 0], return_counts=True)
    if len(parted := numbers[folds_of > 1]):
        raise DataError(
            f"{len(parted)} of {len(numbers)} groups are in two folds or more, {names[parted[0]]!r} first",
            "each group in one fold",
            "please report this, with the command",
        )


def _check_enough(labels: np.ndarray, groups: np.ndarray | None, count: int, names: Sequence[str]) -> None:
    if groups is not None and (found := len(np.unique(groups))) < count:
        raise DataError(f"{found} groups (data.group) for {count} folds", "a group for each fold", f"--folds {found}")
    units, what = (np.arange(len(labels)), "row") if groups is None else (groups, "group")
    for code in np.unique(labels):
        if (found := len(np.unique(units[labels == code]))) < count:
            raise DataError(
                f"label {names[code]!r} has {found} {what}{'s' if found > 1 else ''} for {count} folds",
                f"a {what} of every label for each fold",
                "fewer --folds, more rows of that label, or none of it",
            )


def _strata(labels: np.ndarray, slices: np.ndarray, count: int) -> np.ndarray:
    """What is to be spread evenly: a label of a slice where it has `count` rows; what is left of each label."""
    cells = labels.astype(np.int64) * (slices.max() + 2) + slices
    _, place, rows = np.unique(cells, return_inverse=True, return_counts=True)
    left = labels.astype(np.int64) * (slices.max() + 2) + slices.max() + 1
    return np.unique(np.where(rows[place] >= count, cells, left), return_inverse=True)[1]


def _deal_groups(strata: np.ndarray, groups: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """Largest group first, each to the fold that it leaves the most even: the greedy way of grouped stratification."""
    totals = np.bincount(strata)
    dealt = np.zeros((count, len(totals)))
    sizes = np.zeros(count)
    numbers, place, rows = np.unique(groups, return_inverse=True, return_counts=True)
    lots = random.permutation(len(numbers))
    # Each group's strata, one group after another: pairs (group, stratum) with so many rows.
    pairs, in_pair = np.unique(place * len(totals) + strata, return_counts=True)
    starts = np.searchsorted(pairs, np.arange(len(numbers) + 1) * len(totals))
    fold = np.empty(len(numbers), np.int64)
    for group in lots[np.argsort(-rows[lots], kind="stable")]:
        mine = slice(starts[group], starts[group + 1])
        which, new = pairs[mine] % len(totals), in_pair[mine]
        # By how much the sum of squares grows, of each stratum and of all rows, in proportion to their numbers.
        growth = (new * (2 * dealt[:, which] + new) / totals[which]).sum(axis=1)
        growth += rows[group] * (2 * sizes + rows[group]) / len(strata)
        chosen = int(growth.argmin())
        dealt[chosen, which] += new
        sizes[chosen] += rows[group]
        fold[group] = chosen
    return fold[place]


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
