"""Which rows make which batch: a pure function of (seed, epoch, sizes), with no state to keep or to restore.

The rows of an optimizer step do not depend on how many processes share them or in how many micro-batches they are
taken: 1 process with batch 32, 8 processes with batch 4 and 1 process with 4 batches of 8 follow the same steps.
"""

import hashlib
from math import ceil

import numpy as np

WINDOW = 50  # steps among which rows of similar length are looked for
PADDING_ROW = -1  # in place of a row, where a batch has more places than there are rows left


def permutation(rows: int, seed: int, epoch: int) -> np.ndarray:
    """The order of an epoch: int64 [rows]."""
    return np.random.default_rng((seed, epoch)).permutation(rows)


def length_grouped(rows: np.ndarray, lengths: np.ndarray, rows_per_step: int, seed: int, epoch: int) -> np.ndarray:
    """An epoch's order in which rows of similar length meet in a step, and the steps come by lot.

    Windows of the given order are sorted by length, which leaves to chance who meets whom among rows of about one
    length, as transformers' LengthGroupedSampler does. Here the steps of all windows are drawn anew, so that no time of
    the epoch has the long ones; the last step, which may have fewer rows, stays the last.

    Args:
        rows: an epoch's order, int64 [rows].
        lengths: int64 [all rows], in tokens.
        rows_per_step: of an optimizer step, on all processes.
        seed, epoch: what the draw depends on.

    Returns:
        The same rows: int64 [rows].
    """
    steps = len(rows) // rows_per_step
    whole, last = np.split(rows, [steps * rows_per_step])
    windows = np.arange(len(whole)) // (WINDOW * rows_per_step)
    arranged = whole[np.lexsort((lengths[whole], windows))].reshape(steps, rows_per_step)
    by_lot = np.random.default_rng((seed, epoch, 1)).permutation(steps)
    return np.concatenate([arranged[by_lot].ravel(), last])


def count_steps(rows: int, rows_per_step: int) -> int:
    """Optimizer steps an epoch; the last may have fewer rows."""
    return ceil(rows / rows_per_step)


def global_batches(rows: np.ndarray, size: int) -> np.ndarray:
    """Rows in batches of `size`, all processes together, the last completed by PADDING_ROW: int64 [batches, size].

    A step is a whole number of batches, so an epoch's batches are its steps' batches, one after another.
    """
    count = ceil(len(rows) / size)
    filled = np.full(count * size, PADDING_ROW, np.int64)
    filled[: len(rows)] = rows
    return filled.reshape(count, size)


def token_limited_batches(rows: np.ndarray, lengths: np.ndarray, size: int, tokens: int, processes: int) -> np.ndarray:
    """Rows in batches in which each process has at most `size` rows and, of more than one row, at most `tokens` tokens.

    Args:
        rows: the longest first, int64 [rows].
        lengths: int64 [all rows], in tokens.
        size, tokens: of each process.
        processes: which take the rows of a batch by turns.

    Returns:
        The rows, and PADDING_ROW where a process has fewer than `size`: int64 [batches, processes * size].
    """
    lines, found, start = global_batches(rows, processes), [], 0
    while start < len(lines):
        places = np.full((processes, size), PADDING_ROW)
        some = lines[start : start + max(1, min(size, tokens // int(lengths[lines[start, 0]])))]
        places[:, : len(some)] = some.T
        found.append(places.ravel())
        start += len(some)
    return np.array(found)


def step_seed(seed: int, step: int, process: int) -> int:
    """The seed of a step's dropout on one process: noise, like order, is arithmetic."""
    digest = hashlib.blake2b(f"{seed} {step} {process}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
