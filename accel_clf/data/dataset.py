"""Labelled rows.

Texts stay where they are and are streamed each time they are needed; only labels, groups, slices and a digest of 16
bytes of each text are held in memory.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from accel_clf.core.errors import DataError

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
    """Rows of a source, or some of them.

    Attributes:
        origin: what they were read from, for messages.
        stream: every text of the whole source, in order; may be called again and again.
        ids: int64 [rows], ascending: each row's place in the source, from 0.
        digests: uint8 [rows, 16], of the texts.
        labels: the classes.
        groups, slices: columns, or None where not asked for.
    """

    origin: str
    stream: Callable[[], Iterator[str]]
    ids: np.ndarray
    digests: np.ndarray
    labels: Categorical
    groups: Categorical | None = None
    slices: Categorical | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def label_names(self) -> tuple[str, ...]:
        return self.labels.names

    def take(self, which: np.ndarray) -> "Dataset":
        """The rows at `which` (int64 positions among these rows), in the source's order."""
        which = np.sort(which)

        def part(column: Categorical | None) -> Categorical | None:
            return None if column is None else Categorical(column.names, column.codes[which])

        return replace(
            self,
            ids=self.ids[which],
            digests=self.digests[which],
            labels=Categorical(self.labels.names, self.labels.codes[which]),
            groups=part(self.groups),
            slices=part(self.slices),
        )

    def texts(self) -> Iterator[str]:
        """The texts of these rows, in order.

        Raises:
            DataError: the source is no longer what it was when the rows were read.
        """
        position = 0
        for number, text in enumerate(self.stream()):
            if position == len(self.ids):
                return
            if number == self.ids[position]:
                if digest(text) != self.digests[position].tobytes():
                    break
                yield text
                position += 1
        if position < len(self.ids):
            raise DataError(f"{self.origin}: changed while it was being read", "a file that stays as it is")

    def fingerprint(self) -> str:
        """A digest of the texts and their order."""
        return hashlib.sha256(self.digests.tobytes()).hexdigest()

    def digest(self) -> str:
        """A digest of texts and labels, and their order."""
        labels = json.dumps(self.label_names).encode() + self.labels.codes.tobytes()
        return hashlib.sha256(self.digests.tobytes() + labels).hexdigest()


def digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=DIGEST_BYTES).digest()


def count_empty_texts(rows: Dataset) -> int:
    """How many rows have no text at all."""
    return int((rows.digests == np.frombuffer(digest(""), np.uint8)).all(axis=1).sum())


def count_shared_texts(rows: Dataset, others: Dataset) -> int:
    """How many of `others` have a text that stands among `rows` too."""
    wanted = {row.tobytes() for row in others.digests}
    # Of the two, the training rows are the many: they are looked up, and not kept.
    common = {digest for digest in (row.tobytes() for row in rows.digests) if digest in wanted}
    return sum(row.tobytes() in common for row in others.digests)
