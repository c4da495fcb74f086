"""Stratification of rows with several labels each: rows, or whole groups, are dealt to parts with even labels."""

from collections.abc import Sequence

import numpy as np

SIZE_WEIGHT = 10  # of the rows of a part, relative to those of a label: groups then give parts of even sizes
BATCH = 64  # units whose exchanges are compared at a time
MAX_EXCHANGES = 3000
PATIENCE = 100  # batches without an exchange that helps, before the search ends


def quotas(counts: np.ndarray, rows: int, random: np.random.Generator) -> np.ndarray:
    """Apportion `rows` rows to classes by the largest remainder method; ties are broken at random.

    Args:
        counts: int64 [classes], rows per class.
        rows: at most counts.sum().
        random: breaks ties.

    Returns:
        int64 [classes].
    """
    exact = counts * (rows / counts.sum())
    apportioned: np.ndarray = np.floor(exact).astype(np.int64)
    by_remainder = np.lexsort((random.random(len(counts)), apportioned - exact))
    apportioned[by_remainder[: rows - apportioned.sum()]] += 1
    return apportioned


def deal(indicators: np.ndarray, groups: np.ndarray | None, sizes: Sequence[float], seed: int) -> np.ndarray:
    """Deal rows out to parts, so that each label's rows, and rows without a label, are spread in the parts' shares.

    A unit (a row, or a group) is a vector: its rows of each label, its rows without a label, and all its rows. A part's
    deviation is the sum of its units less its share of all. The sum of squares of the deviations, each divided by its
    label's rows so that rare labels count, is made small: as in iterative stratification (Sechidis et al., 2011), units
    that are hard to place are placed first; then units are exchanged between parts as long as that helps.

    Args:
        indicators: bool or 0/1 [rows, labels]; a row may have no label.
        groups: int [rows]; None for no groups: then each part has its share of the rows, rounded up or down.
        sizes: shares of the rows, one for each part, that sum to 1.
        seed: of the random choice of rows.

    Returns:
        int64 [rows]: the part of each row. No group is divided; no part with a share is empty if units are enough.
    """
    random = np.random.default_rng(seed)
    labelled = np.asarray(indicators, bool)
    columns = np.column_stack([labelled, ~labelled.any(axis=1), np.ones(len(labelled), bool)])
    unit_of_row = np.arange(len(columns)) if groups is None else np.unique(groups, return_inverse=True)[1]
    by_unit = np.argsort(unit_of_row, kind="stable")
    starts = np.searchsorted(unit_of_row[by_unit], np.arange(unit_of_row.max() + 1))
    units = np.add.reduceat(columns[by_unit], starts, axis=0, dtype=np.int32)
    # Whole weights and shares in 2**-20 make sums exact, so all machines, in whatever order they add, agree.
    weights = np.ceil(2.0**24 / np.maximum(columns.sum(axis=0), 1))
    weights[-1] *= SIZE_WEIGHT
    shares = np.round(np.array(sizes) * 2**20) / 2**20
    room = np.full(len(sizes), len(units)) if groups is not None else quotas(np.array(sizes), len(units), random)
    lengths = units.astype(np.float64) ** 2 @ weights
    order = random.permutation(len(units))
    order = order[np.argsort(-lengths[order], kind="stable")]
    part = _place(units, order, weights, shares, room)
    _exchange(part, units, weights, shares, random)
    for empty in np.setdiff1d(np.flatnonzero(sizes), part):
        unit_counts = np.bincount(part)
        if unit_counts.max() > 1:
            shortest_first = order[::-1]
            part[shortest_first[part[shortest_first] == unit_counts.argmax()][0]] = empty
    return part[unit_of_row]


def hold_out(indicators: np.ndarray, groups: np.ndarray | None, share: float, seed: int) -> np.ndarray:
    """Choose rows to hold out by `deal`; of each label that more than one unit has, a unit is kept.

    Returns:
        Ascending int64 indices.
    """
    held_out = deal(indicators, groups, [1 - share, share], seed) == 1
    unit_of_row = np.arange(len(held_out)) if groups is None else np.unique(groups, return_inverse=True)[1]
    unit_sizes = np.bincount(unit_of_row)
    for label in np.flatnonzero(~indicators[~held_out].any(axis=0)):
        label_units = np.unique(unit_of_row[indicators[:, label].astype(bool)])
        if len(label_units) > 1 and not indicators[~held_out, label].any():
            held_out[unit_of_row == label_units[unit_sizes[label_units].argmin()]] = False
    return np.flatnonzero(held_out)


def draw(indicators: np.ndarray, rows: int, seed: int) -> np.ndarray:
    """Draw `rows` rows by `deal`, with at least one of each label; of the rarest labels, where `rows` are too few.

    Returns:
        Ascending int64 indices; all if there are no more than `rows`.
    """
    if rows >= len(indicators):
        return np.arange(len(indicators))
    random = np.random.default_rng(seed)
    labelled = np.asarray(indicators, bool)
    counts = labelled.sum(axis=0)
    required = np.zeros(len(labelled), bool)
    while True:
        others = np.flatnonzero(~required)
        share = (rows - required.sum()) / len(others)
        drawn = required.copy()
        drawn[others[deal(labelled[others], None, [share, 1 - share], seed) == 0]] = True
        missing = np.flatnonzero((counts > 0) & ~labelled[drawn].any(axis=0))
        if not len(missing) or required.sum() == rows:
            return np.flatnonzero(drawn)
        for label in missing[np.argsort(counts[missing], kind="stable")]:
            if required.sum() < rows and not labelled[required, label].any():
                required[random.choice(np.flatnonzero(labelled[:, label]))] = True


def _place(
    units: np.ndarray, order: np.ndarray, weights: np.ndarray, shares: np.ndarray, room: np.ndarray
) -> np.ndarray:
    """Place units in this order, each where the sum of squares grows least.

    Deviations are from the parts' shares of what is placed so far: so parts of all sizes fill evenly.

    Args:
        units: int [units, columns].
        order: of the units.
        weights: of the columns' squares.
        shares: [parts].
        room: [parts], how many units a part can take; reduced by those that it took.

    Returns:
        int64 [units]: the part of each unit.
    """
    part = np.empty(len(units), np.int64)
    placed = np.zeros((len(shares), units.shape[1]))
    total = np.zeros(units.shape[1])
    for unit in order:
        weighted = weights * units[unit]
        total += units[unit]
        growth = placed @ weighted - shares * (total @ weighted)
        growth[room == 0] = np.inf
        best = int(growth.argmin())
        placed[best] += units[unit]
        room[best] -= 1
        part[unit] = best
    return part


def _exchange(
    part: np.ndarray, units: np.ndarray, weights: np.ndarray, shares: np.ndarray, random: np.random.Generator
) -> None:
    """Exchange two units of a random batch as long as the sum of squares shrinks; change `part`.

    Args:
        part: int64 [units].
        units: int [units, columns].
        weights: of the columns' squares.
        shares: [parts].
        random: draws the batches.
    """
    deviations = -np.outer(shares, units.sum(axis=0))
    for index in range(len(shares)):
        deviations[index] += units[part == index].sum(axis=0)
    idle = 0
    for _ in range(MAX_EXCHANGES):
        batch = random.choice(len(units), min(BATCH, len(units)), replace=False, shuffle=False)
        parts, vectors = part[batch], units[batch].astype(np.float64)
        by_part = (vectors * weights) @ deviations.T
        by_unit = (vectors * weights) @ vectors.T
        # Half the growth that a unit (row) brings, in the place of another (column): both together are an exchange.
        leaving = np.diag(by_unit) - by_part[np.arange(len(batch)), parts]
        growth = by_part[:, parts] - by_unit + leaving[:, None]
        growth = growth + growth.T
        first, second = divmod(int(growth.argmin()), len(batch))
        if growth[first, second] < 0:
            deviations[parts[first]] += vectors[second] - vectors[first]
            deviations[parts[second]] += vectors[first] - vectors[second]
            part[batch[[first, second]]] = parts[[second, first]]
            idle = 0
        elif (idle := idle + 1) == PATIENCE:
            return
