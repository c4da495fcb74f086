"""Rows to tensors: padded to what the batch needs, or to one of few widths (bucketed), for compilers."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from accel_clf.data.order import FILLER
from accel_clf.data.tokens import Tokens

IGNORED = -100  # the label that cross-entropy leaves out
WIDTHS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)


class Place(NamedTuple):
    """A place in a batch: the row that takes it, and the width that the whole batch has on all processes, if fixed."""

    row: int
    width: int | None


Collate = Callable[[Sequence[Place]], dict[str, torch.Tensor]]


def bucket(lengths: np.ndarray, max_length: int) -> int:
    """The narrowest of WIDTHS that holds rows of these lengths; max_length itself is the last."""
    longest = int(lengths.max(initial=1))
    return min([width for width in WIDTHS if longest <= width < max_length] or [max_length])


def places(rows: np.ndarray, lengths: np.ndarray, layout: str, max_length: int) -> list[Place]:
    """A global batch with what each process must know of the others' rows.

    Args:
        rows: int64 [B], FILLER where there is none.
        lengths: int64 [all rows].
        layout: "padded" (every process pads to its own longest row) or "bucketed" (one width for all).
        max_length: the longest a row can be.
    """
    width = bucket(lengths[rows[rows != FILLER]], max_length) if layout == "bucketed" else None
    return [Place(row, width) for row in rows.tolist()]


def collate(tokens: Tokens, labels: np.ndarray | None, pad_id: int) -> Collate:
    """The function that makes a process's share of a global batch into tensors.

    Fillers keep their place in a fixed shape, as rows with one padding token and no say in loss or metrics. In the
    padded layout they are dropped, except for one where a process has nothing else: all must take part in a step.
    """
    padding = np.array([pad_id])

    def tensors(share: Sequence[Place]) -> dict[str, torch.Tensor]:
        rows = [place.row for place in share]
        if share[0].width is None:
            rows = [row for row in rows if row != FILLER] or [FILLER]
        encoded = [tokens[row] if row != FILLER else padding for row in rows]
        lengths = np.array([len(ids) for ids in encoded])
        width = share[0].width or int(lengths.max())
        real = np.arange(width) < lengths[:, None]
        input_ids = np.full((len(rows), width), pad_id, np.int64)
        input_ids[real] = np.concatenate(encoded)
        taken = np.array(rows)
        wanted = np.full(len(rows), IGNORED, np.int64)
        if labels is not None:
            wanted[taken != FILLER] = labels[taken[taken != FILLER]]
        return {
            "input_ids": torch.from_numpy(input_ids),
            "attention_mask": torch.from_numpy(real.astype(np.int64)),
            "labels": torch.from_numpy(wanted),
            "rows": torch.from_numpy(taken),
        }

    return tensors
