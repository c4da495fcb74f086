"""Texts that a model fails on, told from those that share their batch; without torch, which servers do without."""

import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple, TypeVar

import numpy as np

from accel_clf.core.errors import DataError, UserError, is_of_input

OUT_OF_MEMORY = re.compile("out of memory|allocate memory")  # of which torch makes RuntimeErrors, as of most else

Item = TypeVar("Item")
Output = TypeVar("Output")


class Failure(NamedTuple):
    """Why a text has no answer.

    Attributes:
        reason: the exception's class and the first line of its message.
        is_of_text: whether the model does not take this text, rather than that something else went wrong with it.
    """

    reason: str
    is_of_text: bool

    @classmethod
    def of(cls, error: Exception) -> "Failure":
        """Return what an exception says that was raised for a text alone."""
        message = str(error).strip()
        reason = ": ".join([type(error).__name__, *message.splitlines()[:1]])
        return cls(reason, is_of_input(error) and OUT_OF_MEMORY.search(message) is None)

    def as_error(self, location: str, fix: str = "") -> UserError:
        """Return the error that names the text's row.

        Args:
            location: of the row.
            fix: what to do about it.
        """
        got = f"{location}: the model fails on this text ({self.reason})"
        return DataError(got, "texts that it takes", fix) if self.is_of_text else UserError(got, fix=fix)


def not_finite(outputs: np.ndarray) -> dict[int, Failure]:
    """Return why rows have no answer whose outputs, float [rows, ...], are NaN or infinite, by their indices."""
    is_finite = np.isfinite(outputs.reshape(len(outputs), -1)).all(axis=1)
    return {int(index): Failure("its scores are NaN or infinite", False) for index in np.flatnonzero(~is_finite)}


def answer_apart(
    answer: Callable[[list[Item]], Iterable[Output]], items: Sequence[Item]
) -> tuple[dict[int, Output], dict[int, Failure]]:
    """Answer items that cannot be answered together: by halves, and those that fail by their halves.

    Where one of n items fails, this takes 2 log2 n tries, and as long as about two of all n.

    Args:
        answer: raises an exception where it fails on one of some items.
        items: on which it has failed.

    Returns:
        The answers, and why the others have none, by the items' indices.
    """
    outputs: dict[int, Output] = {}
    failures: dict[int, Failure] = {}
    groups = _halves(range(len(items)))  # of a single item this one again: it must fail alone, and twice
    while groups:
        group = groups.pop()
        try:
            outputs |= zip(group, answer([items[index] for index in group]), strict=True)
            continue
        except Exception as error:  # which takes what it holds of the device's memory along
            if len(group) == 1:
                failures[group[0]] = Failure.of(error)
                continue
        groups += _halves(group)
    return outputs, failures


def _halves(group: range) -> list[range]:
    middle = len(group) // 2
    return [half for half in (group[middle:], group[:middle]) if half]


def answer_others(
    infer: Callable[[list[np.ndarray]], np.ndarray], rows: Sequence[np.ndarray], fill: Callable[[int], np.ndarray]
) -> tuple[np.ndarray, dict[int, Failure]]:
    """Answer a batch that a model has failed on.

    In the end the model runs on the whole batch once more, with a filler in the place of each row that it fails on:
    rounding goes by a batch's shape, so the other rows get the bits that they would have got beside better ones.

    Args:
        infer: the model, from rows of token ids to their outputs, [rows, ...].
        rows: token ids, int [length] each, or [length, 2].
        fill: makes a row of so many tokens that the model takes.

    Returns:
        The outputs, NaN of rows that have failed, and why these have.

    Raises:
        Exception: what the model raises for a filler, if it fails on every row: it no longer runs at all.
    """
    apart: dict[int, np.ndarray]
    apart, failures = answer_apart(infer, rows)
    if not apart:
        sample = infer([fill(len(rows[0]))])
        return np.full((len(rows), *sample.shape[1:]), np.nan, sample.dtype), failures
    with suppress(Exception):  # the rows are too many for the device's memory, or do not go together
        outputs = infer([fill(len(row)) if index in failures else row for index, row in enumerate(rows)])
        apart = dict(enumerate(outputs))
    of_failed = np.full_like(apart[next(iter(apart))], np.nan)
    return np.stack([of_failed if index in failures else apart[index] for index in range(len(rows))]), failures
