"""Pairs whose order means nothing, and their twins in the other order, in one group."""

from dataclasses import replace

import numpy as np

from accel_clf.data.dataset import Categorical, Dataset


def group_twins(rows: Dataset) -> Dataset:
    """Put rows with the same two texts into one group, so that no split and no fold divides them.

    Where there are groups already, those that share a pair become one.

    Args:
        rows: whose pairs are symmetric.
    """
    _, pairs = np.unique(rows.twin_keys(), axis=0, return_inverse=True)
    pairs = pairs.ravel()
    count = int(pairs.max()) + 1
    if rows.groups is None:
        if count == len(rows):
            return rows
        codes = pairs
    else:
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        nodes = count + len(rows.groups.names)
        edges = coo_array((np.ones(len(rows)), (pairs, count + rows.groups.codes)), (nodes, nodes))
        codes = connected_components(edges, directed=False)[1][pairs]
    _, first, codes = np.unique(codes, return_index=True, return_inverse=True)
    named_after = rows.groups.codes[first] if rows.groups else rows.ids[first]
    names = tuple(rows.groups.names[code] if rows.groups else f"row {code}" for code in named_after.tolist())
    return replace(rows, groups=Categorical(names, codes.ravel().astype(np.int32)))
