"""Which rows form which batch: a pure function of (seed, epoch, sizes), with no state to save or restore.

The rows of an optimizer step depend neither on the number of processes nor on the number of micro-batches: 1 process
with batch 32, 8 processes with batch 4 and 1 process with 4 batches of 8 take the same steps.
"""

import hashlib
from math import ceil

import numpy as np

WINDOW = 50  # steps whose rows are sorted by length among each other
PADDING_ROW = -1  # in place of a row, where a batch has more slots than there are rows left


def permutation(rows: int, seed: int, epoch: int) -> np.ndarray:
    """Return the random order of an epoch: int64 [rows]."""
    return np.random.default_rng((seed, epoch)).permutation(rows)


def length_grouped(rows: np.ndarray, lengths: np.ndarray, rows_per_step: int, seed: int, epoch: int) -> np.ndarray:
    """Reorder an epoch so that rows of similar length share a step, and the steps come in random order.

    Windows of the epoch are sorted by length, as in transformers' LengthGroupedSampler, so that chance still decides
    which rows of about the same length share a step. Here the steps of all windows are then shuffled, so that no part
    of the epoch has all the long ones; only the last step, which may have fewer rows, stays the last.

    Args:
        rows: an epoch's order, int64 [rows].
        lengths: int64 [all rows], in tokens.
        rows_per_step: of an optimizer step, on all processes.
        seed, epoch: of the shuffle.

    Returns:
        The same rows: int64 [rows].
    """
    steps = len(rows) // rows_per_step
    full, last = np.split(rows, [steps * rows_per_step])
    windows = np.arange(len(full)) // (WINDOW * rows_per_step)
    by_length = full[np.lexsort((lengths[full], windows))].reshape(steps, rows_per_step)
    shuffled = np.random.default_rng((seed, epoch, 1)).permutation(steps)
    return np.concatenate([by_length[shuffled].ravel(), last])


def count_steps(rows: int, rows_per_step: int) -> int:
    """Return the number of optimizer steps per epoch; the last may have fewer rows."""
    return ceil(rows / rows_per_step)


def global_batches(rows: np.ndarray, size: int) -> np.ndarray:
    """Divide rows into global batches of `size` (over all processes), the last one filled up with PADDING_ROW.

    A step is a whole number of batches, so the batches of an epoch are those of its steps, one after another.

    Returns:
        int64 [batches, size].
    """
    count = ceil(len(rows) / size)
    filled = np.full(count * size, PADDING_ROW, np.int64)
    filled[: len(rows)] = rows
    return filled.reshape(count, size)


def token_limited_batches(rows: np.ndarray, lengths: np.ndarray, size: int, tokens: int, processes: int) -> np.ndarray:
    """Divide rows into global batches of at most `size` rows and `tokens` padded tokens per process.

    A row that is longer than `tokens` has a batch of its own, shared with at most one row of each other process.

    Args:
        rows: the longest first, int64 [rows].
        lengths: int64 [all rows], in tokens.
        size, tokens: limits per process.
        processes: to which the rows of a batch are dealt out in turn.

    Returns:
        The rows, and PADDING_ROW where a process has fewer than `size`: int64 [batches, processes * size].
    """
    rounds = global_batches(rows, processes)  # each deals one row to every process
    batches, start = [], 0
    while start < len(rounds):
        slots = np.full((processes, size), PADDING_ROW)
        dealt = rounds[start : start + max(1, min(size, tokens // int(lengths[rounds[start, 0]])))]
        slots[:, : len(dealt)] = dealt.T
        batches.append(slots.ravel())
        start += len(dealt)
    return np.array(batches)


def step_seed(seed: int, step: int, process: int) -> int:
    """Return the seed of a step's dropout on one process: like order, noise is arithmetic, not state."""
    digest = hashlib.blake2b(f"{seed} {step} {process}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
