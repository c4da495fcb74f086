"""Which rows make which batch: a pure function of (seed, epoch, sizes), with no state to keep or to restore.

The rows of an optimizer step do not depend on how many processes share them or in how many micro-batches they are
taken: 1 process with batch 32, 8 processes with batch 4 and 1 process with 4 batches of 8 follow the same steps.
"""

from math import ceil

import numpy as np

FILLER = -1  # in place of a row, where a batch has more places than there are rows left


def permutation(rows: int, seed: int, epoch: int) -> np.ndarray:
    """The order of an epoch: int64 [rows]."""
    return np.random.default_rng((seed, epoch)).permutation(rows)


def count_steps(rows: int, rows_per_step: int) -> int:
    """Optimizer steps an epoch; the last may have fewer rows."""
    return ceil(rows / rows_per_step)


def batches(rows: np.ndarray, size: int) -> np.ndarray:
    """Rows in batches of `size` (all processes together), the last one filled up with FILLER: int64 [batches, size].

    A step is a whole number of batches, so an epoch's batches are its steps' batches, one after another.
    """
    count = ceil(len(rows) / size)
    filled = np.full(count * size, FILLER, np.int64)
    filled[: len(rows)] = rows
    return filled.reshape(count, size)


def step_seed(seed: int, step: int, process: int) -> int:
    """The seed of a step's dropout on one process: noise, like order, is arithmetic."""
    return int(np.random.SeedSequence((seed, step, process)).generate_state(1, np.uint64)[0] >> 1)
