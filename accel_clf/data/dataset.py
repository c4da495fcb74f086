"""Labelled rows.

Texts stay where they are and are streamed each time they are needed; only labels, groups, slices and a digest of 16
bytes per text are held in memory.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from accel_clf.core.errors import DataError
from accel_clf.data.incomplete import IncompleteRows
from accel_clf.data.texts import Text, swap
from accel_clf.targets.base import Target

DIGEST_BYTES = 16


@dataclass(frozen=True)
class Categorical:
    """A column of strings as indices into its distinct values.

    Attributes:
        names: the distinct values.
        codes: int32 [rows].
    """

    names: tuple[str, ...]
    codes: np.ndarray


@dataclass(frozen=True)
class Dataset:
    """The rows of a source, or a part of them.

    Attributes:
        origin: the name of the source, for messages.
        stream: iterates over the texts of the whole source, in order; may be called repeatedly.
        ids: int64 [rows], ascending: each row's index in the source, from 0.
        digests: uint8 [rows, 16], of the texts.
        target: what is predicted.
        labels: [rows, ...], as the target encodes them.
        groups, slices, folds: columns, or None where the settings name none.
        notes: what a user should know about the source, and of rows that were left out.
        blanks: digests of those texts of the source that have nothing but spaces, or of whose pair one has no more.
        incomplete: the rows of the source that were left out.
        has_pairs: whether each text is a pair.
        is_symmetric: whether a pair in the other order is the same.
    """

    origin: str
    stream: Callable[[], Iterator[Text]]
    ids: np.ndarray
    digests: np.ndarray
    target: Target
    labels: np.ndarray
    groups: Categorical | None = None
    slices: Categorical | None = None
    notes: tuple[str, ...] = ()
    blanks: frozenset[bytes] = frozenset()
    incomplete: IncompleteRows | None = None
    folds: Categorical | None = None
    has_pairs: bool = False
    is_symmetric: bool = False

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, indices: np.ndarray) -> "Dataset":
        """Select rows by their int64 indices among these rows; they keep the order of the source."""
        indices = np.sort(indices)

        def select(column: Categorical | None) -> Categorical | None:
            return None if column is None else Categorical(column.names, column.codes[indices])

        return replace(
            self,
            ids=self.ids[indices],
            digests=self.digests[indices],
            labels=self.labels[indices],
            groups=select(self.groups),
            slices=select(self.slices),
            folds=select(self.folds),
        )

    def texts(self) -> Iterator[Text]:
        """Stream the texts of these rows, in order.

        Raises:
            DataError: the source has changed since the rows were read.
        """
        row = 0
        for index, text in enumerate(self.stream()):
            if row == len(self.ids):
                return
            if index == self.ids[row]:
                if digest(text) != self.digests[row].tobytes():
                    break
                yield text
                row += 1
        if row < len(self.ids):
            raise DataError(f"{self.origin}: changed while it was being read", "a file that stays as it is")

    def in_both_orders(self) -> "Dataset":
        """Return these rows of pairs, and after them the same rows with their pairs in the other order."""
        ids = np.arange(2 * len(self))
        swapped = self.digests.reshape(len(self), 2, -1)[:, ::-1].reshape(len(self), -1)
        return replace(
            self,
            stream=lambda: chain(self.texts(), map(swap, self.texts())),
            ids=ids,
            digests=np.concatenate([self.digests, swapped]),
            labels=np.concatenate([self.labels, self.labels]),
            groups=None,
            slices=None,
            folds=None,
        )

    def twin_keys(self) -> np.ndarray:
        """Return what is equal for rows with the same text: uint8 [rows, 16]."""
        if not self.is_symmetric:
            return self.digests
        halves = np.ascontiguousarray(self.digests).view(">u8")
        keys: np.ndarray = np.sort(halves, axis=1).view(np.uint8)
        return keys

    def fingerprint(self) -> str:
        """Return a digest of the texts and their order."""
        return hashlib.sha256(self.digests.tobytes()).hexdigest()

    def digest(self) -> str:
        """Return a digest of the texts, the labels and their order."""
        labels = json.dumps(self.target.names).encode() + self.labels.tobytes()
        return hashlib.sha256(self.digests.tobytes() + labels).hexdigest()


def digest(text: Text) -> bytes:
    """Return the digest of a text, DIGEST_BYTES long, of a pair half of it for each side."""
    if isinstance(text, str):
        return hashlib.blake2b(text.encode(), digest_size=DIGEST_BYTES).digest()
    return b"".join(hashlib.blake2b(side.encode(), digest_size=DIGEST_BYTES // 2).digest() for side in text)


def count_blank_texts(rows: Dataset) -> int:
    """Count the rows whose text has nothing but spaces."""
    return sum(row.tobytes() in rows.blanks for row in rows.digests) if rows.blanks else 0


def shared_texts(rows: Dataset, others: Dataset) -> np.ndarray:
    """Find the rows of `others` whose text occurs in `rows`, too: bool [others]."""
    keys, other_keys = rows.twin_keys(), others.twin_keys()
    other_texts = {row.tobytes() for row in other_keys}
    # `rows`, usually the training rows, are the larger set: they are looked up, not held in a set of their own.
    shared = {text for text in (row.tobytes() for row in keys) if text in other_texts}
    return np.array([row.tobytes() in shared for row in other_keys], bool)
