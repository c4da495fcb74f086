"""Which rows are held out: a pure function of (labels, slices, groups, seed).

Labels are a class for each row or, where a row can have several, indicators: 0/1 [rows, labels].
"""

from collections.abc import Sequence

import numpy as np

from accel_clf.core.errors import DataError
from accel_clf.data import stratification
from accel_clf.data.stratification import quotas


def holdout(labels: np.ndarray, groups: np.ndarray | None, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split rows in two, stratified by class, with no group on both sides.

    Args:
        labels: int [rows], from 0; or indicators: of each label that more than one row or group has, one is kept.
        groups: int [rows], from 0; None for no groups.
        share: of the rows, to hold out. With groups it is approximated as closely as whole groups allow.
        seed: of the random choice of rows.

    Returns:
        (kept, held out): ascending int64 indices.

    Raises:
        DataError: one side would have no rows.
    """
    choose = stratification.hold_out if labels.ndim == 2 else _hold_out_classes
    held_out = choose(labels, groups, share, seed)
    if not 0 < len(held_out) < len(labels):
        raise DataError(
            f"a share of {share} of {len(labels)} rows"
            + (f" in {len(np.unique(groups))} groups" if groups is not None else "")
            + " leaves one side without rows",
            "rows to train on and rows to validate on",
            "add rows, or set another --data.validation share or a file of validation rows",
        )
    return np.setdiff1d(np.arange(len(labels)), held_out), np.sort(held_out)


def _hold_out_classes(labels: np.ndarray, groups: np.ndarray | None, share: float, seed: int) -> np.ndarray:
    counts, random = np.bincount(labels), np.random.default_rng(seed)
    class_quotas = np.minimum(quotas(counts, round(len(labels) * share), random), np.maximum(counts - 1, 0))
    if groups is None:
        return _draw(labels, class_quotas, random)
    return np.flatnonzero(np.isin(groups, _select_groups(labels, groups, class_quotas, random)))


def _select_groups(
    labels: np.ndarray, groups: np.ndarray, class_quotas: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """Select groups whose rows approximate the quotas: largest first, each if it brings the sums closer."""
    group_ids, group_of_row = np.unique(groups, return_inverse=True)
    histograms = np.zeros((len(group_ids), len(class_quotas)), np.int64)
    np.add.at(histograms, (group_of_row, labels), 1)
    order = random.permutation(len(group_ids))
    order = order[np.argsort(-histograms[order].sum(axis=1), kind="stable")]
    missing = class_quotas.astype(np.int64)
    selected = []
    for group in order:
        remaining = missing - histograms[group]
        if (remaining**2).sum() < (missing**2).sum():
            missing = remaining
            selected.append(group)
    return group_ids[selected]


def folds(
    labels: np.ndarray, slices: np.ndarray | None, groups: np.ndarray | None, count: int, seed: int
) -> np.ndarray:
    """Deal rows out to folds, stratified by label and by label within each slice; no group is in two folds.

    Without groups, fold sizes differ by at most one row, in total and within each label and each label of a slice. With
    groups they are as even as whole groups allow; a label of a slice is stratified if it has a row for each fold.
    Indicators are stratified by label and by slice. A label with fewer rows, or groups, than folds is spread over as
    many folds as it has rows, or as whole groups allow; see `folds_per_label`.

    Args:
        labels: int [rows], from 0; or indicators.
        slices: int [rows], from 0; None for no slices.
        groups: int [rows]; None for no groups.
        count: the number of folds.
        seed: of the random choice of rows.

    Returns:
        int64 [rows]: the fold that holds the row out.

    Raises:
        DataError: there are too few rows or groups for each fold to have one.
    """
    if groups is not None:
        _check_enough_groups(groups, count)
    if len(labels) < count:
        raise DataError(f"{len(labels)} rows for {count} folds", "a row for each fold", "fewer --folds, or more rows")
    if labels.ndim == 2:
        return _fold_indicators(labels, slices, groups, count, seed)
    random = np.random.default_rng(seed)
    slices = np.zeros_like(labels) if slices is None else slices
    if groups is not None:
        return _deal_groups(_strata(labels, slices, count), groups, count, random)
    fold = np.empty(len(labels), np.int64)
    fold[np.lexsort((random.permutation(len(labels)), slices, labels))] = np.arange(len(labels)) % count
    return fold


def _fold_indicators(
    indicators: np.ndarray, slices: np.ndarray | None, groups: np.ndarray | None, count: int, seed: int
) -> np.ndarray:
    """Deal rows out to folds by their labels, by having none, and by slice."""
    columns = [indicators.astype(bool), ~indicators.any(axis=1)]
    if slices is not None:
        columns.append(slices[:, None] == np.unique(slices))
    return stratification.deal(np.column_stack(columns), groups, [1 / count] * count, seed)


def check_apart(groups: np.ndarray, fold: np.ndarray, names: Sequence[str]) -> None:
    """Check that no group is in two folds.

    Args:
        groups: int [rows].
        fold: int [rows].
        names: of the groups.

    Raises:
        DataError: a group is.
    """
    if len(divided := divided_groups(groups, fold)):
        raise DataError(
            f"{len(divided)} of {len(np.unique(groups))} groups are in two folds or more, {names[divided[0]]!r} first",
            "each group in one fold",
            "please report this, with the command",
        )


def divided_groups(groups: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Return the groups that are in two folds or more, each once.

    Args:
        groups: int [rows].
        fold: int [rows].
    """
    pairs = np.unique(np.stack([groups, fold], axis=1), axis=0)
    group_ids, fold_counts = np.unique(pairs[:, 0], return_counts=True)
    divided: np.ndarray = group_ids[fold_counts > 1]
    return divided


def folds_per_label(labels: np.ndarray, fold: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Count the rows of each label, and the folds that hold some of them out.

    Args:
        labels: int [rows], from 0; or indicators.
        fold: int [rows].
        count: the number of folds.

    Returns:
        int64 [labels], both.
    """
    is_indicators = labels.ndim == 2
    rows, codes = np.nonzero(labels) if is_indicators else (np.arange(len(labels)), labels)
    table = np.zeros((labels.shape[1] if is_indicators else int(labels.max()) + 1, count), np.int64)
    np.add.at(table, (codes, fold[rows]), 1)
    return table.sum(axis=1), (table > 0).sum(axis=1)


def _check_enough_groups(groups: np.ndarray, count: int) -> None:
    if (available := len(np.unique(groups))) < count:
        raise DataError(
            f"{available} groups (data.group) for {count} folds", "a group for each fold", f"--folds {available}"
        )


def _strata(labels: np.ndarray, slices: np.ndarray, count: int) -> np.ndarray:
    """Return the stratum of each row: its label in its slice if that has `count` rows, else the label's remainder."""
    cells = labels.astype(np.int64) * (slices.max() + 2) + slices
    _, cell_of_row, cell_sizes = np.unique(cells, return_inverse=True, return_counts=True)
    remainders = labels.astype(np.int64) * (slices.max() + 2) + slices.max() + 1
    return np.unique(np.where(cell_sizes[cell_of_row] >= count, cells, remainders), return_inverse=True)[1]


def _deal_groups(strata: np.ndarray, groups: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """Deal groups to folds, largest first, each to the fold where it keeps all most even: greedy stratification."""
    stratum_sizes = np.bincount(strata)
    dealt = np.zeros((count, len(stratum_sizes)))
    fold_sizes = np.zeros(count)
    group_ids, group_of_row, group_sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = random.permutation(len(group_ids))
    # The strata of each group, group by group: pairs (group, stratum) with their number of rows.
    pairs, pair_sizes = np.unique(group_of_row * len(stratum_sizes) + strata, return_counts=True)
    starts = np.searchsorted(pairs, np.arange(len(group_ids) + 1) * len(stratum_sizes))
    fold = np.empty(len(group_ids), np.int64)
    for group in order[np.argsort(-group_sizes[order], kind="stable")]:
        of_group = slice(starts[group], starts[group + 1])
        group_strata, new = pairs[of_group] % len(stratum_sizes), pair_sizes[of_group]
        # The growth of the sums of squares, of each stratum and of all rows, each relative to its size.
        growth = (new * (2 * dealt[:, group_strata] + new) / stratum_sizes[group_strata]).sum(axis=1)
        growth += group_sizes[group] * (2 * fold_sizes + group_sizes[group]) / len(strata)
        best = int(growth.argmin())
        dealt[best, group_strata] += new
        fold_sizes[best] += group_sizes[group]
        fold[group] = best
    return fold[group_of_row]


def sample(labels: np.ndarray, rows: int, seed: int) -> np.ndarray:
    """Draw `rows` rows, stratified by class, with at least one of each; all rows if there are no more.

    Of indicators, the rarest labels get a row where `rows` are too few for all.

    Returns:
        Ascending int64 indices.

    Raises:
        DataError: there are more classes (not of indicators) than `rows`.
    """
    if labels.ndim == 2:
        return stratification.draw(labels, rows, seed)
    counts, random = np.bincount(labels), np.random.default_rng(seed)
    if rows >= len(labels):
        return np.arange(len(labels))
    if rows < len(counts):
        raise DataError(f"data.limit is {rows}, and there are {len(counts)} labels", "at least one row per label")
    one_each = np.minimum(counts, 1)
    class_quotas = one_each + quotas(counts - one_each, rows - one_each.sum(), random)
    return np.sort(_draw(labels, class_quotas, random))


def _draw(labels: np.ndarray, class_quotas: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Draw class_quotas[c] rows of each class c at random; return their indices, in no order."""
    shuffled = random.permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    starts = np.concatenate([[0], np.cumsum(np.bincount(labels))[:-1]])
    rank_in_class = np.arange(len(labels)) - starts[labels[by_class]]
    drawn: np.ndarray = by_class[rank_in_class < class_quotas[labels[by_class]]]
    return drawn
