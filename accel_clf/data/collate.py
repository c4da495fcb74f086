"""Rows to tensors: padded to what the batch needs, or to one of few widths (bucketed), or not at all (packed)."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from accel_clf.data.sampling import PADDING_ROW
from accel_clf.data.tokenization import TokenizedDataset

IGNORE_INDEX = -100  # the label that cross-entropy leaves out
WIDTHS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)


class BatchSlot(NamedTuple):
    """A place in a batch: the row that takes it, and the width that the whole batch has on all processes, if fixed."""

    row: int
    width: int | None


Batch = dict[str, Any]  # what the model takes, and beside it labels and rows
Collate = Callable[[Sequence[BatchSlot]], Batch]
NOT_MODEL_INPUTS = ("labels", "rows")


def buckets(lengths: np.ndarray, max_length: int) -> np.ndarray:
    """For each length the narrowest of WIDTHS that holds it; max_length itself is the last."""
    widths = np.array([width for width in WIDTHS if width < max_length] + [max_length])
    found: np.ndarray = widths[np.searchsorted(widths, lengths)]
    return found


class GlobalBatchSampler:
    """Batches, each for all processes together; iterated, the batch sampler of a DataLoader.

    Args:
        rows: int64 [batches, places], PADDING_ROW where there is no row.
        lengths: int64 [all rows], in tokens.
        layout: "padded" (every process pads to its own longest row), "bucketed" (one width for all) or "packed".
        max_length: the longest a row can be.

    Attributes:
        rows: as given.
        widths: int64 [batches]; None where processes pad on their own, or do not.
        batch_size: places in each batch.
    """

    drop_last = False

    def __init__(self, rows: np.ndarray, lengths: np.ndarray, layout: str, max_length: int) -> None:
        self.rows, self.batch_size = rows, rows.shape[1]
        longest = np.where(rows == PADDING_ROW, 1, lengths[rows]).max(axis=1)
        self.widths = buckets(longest, max_length) if layout == "bucketed" else None

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[list[BatchSlot]]:
        for batch, rows in enumerate(self.rows):
            width = self._width(batch)
            yield [BatchSlot(row, width) for row in rows.tolist()]

    def slot(self, number: int) -> BatchSlot:
        """One place, counted through all batches."""
        return BatchSlot(int(self.rows.flat[number]), self._width(number // self.batch_size))

    def _width(self, batch: int) -> int | None:
        return None if self.widths is None else int(self.widths[batch])


def pad(rows: Sequence[np.ndarray], pad_id: int, width: int | None = None) -> Batch:
    """Rows below each other, as any encoder takes them.

    Args:
        rows: token ids, int [length] each.
        pad_id: what comes after a row's end.
        width: of the tensors; None for the longest row's.

    Returns:
        input_ids, and attention_mask, which is 1 where they are a row's own: int64 [rows, width] each.
    """
    lengths = np.array([len(row) for row in rows])
    real = np.arange(width or int(lengths.max())) < lengths[:, None]
    input_ids = np.full(real.shape, pad_id, np.int64)
    input_ids[real] = np.concatenate(rows)
    return {"input_ids": torch.from_numpy(input_ids), "attention_mask": torch.from_numpy(real.astype(np.int64))}


def pack(rows: Sequence[np.ndarray]) -> Batch:
    """Rows after each other, as an encoder takes them that packing.pack has prepared.

    Args:
        rows: token ids, int [length] each.

    Returns:
        input_ids and position_ids (from 0 in each row), int64 [1, tokens] each; starts, each row's first place among
        them, int64 [rows]; and lengths, which stay on the host.
    """
    lengths = np.array([len(row) for row in rows])
    starts = lengths.cumsum() - lengths
    return {
        "input_ids": torch.from_numpy(np.concatenate(rows).astype(np.int64))[None],
        "position_ids": torch.from_numpy(np.arange(lengths.sum()) - np.repeat(starts, lengths))[None],
        "starts": torch.from_numpy(starts),
        "lengths": tuple(lengths.tolist()),
    }


def make_inputs(rows: Sequence[np.ndarray], layout: str, pad_id: int, width: int | None = None) -> Batch:
    """What the model takes in a layout: `pack`, or `pad`."""
    return pack(rows) if layout == "packed" else pad(rows, pad_id, width)


def model_inputs(batch: Batch) -> Batch:
    """What the model takes of a batch."""
    return {name: value for name, value in batch.items() if name not in NOT_MODEL_INPUTS}


def collate(tokens: TokenizedDataset, labels: np.ndarray | None, pad_id: int, layout: str) -> Collate:
    """The function that makes a process's share of a global batch into tensors.

    Fillers keep their place in a fixed shape, as rows with one padding token and no say in loss or metrics. In other
    layouts they are dropped, except for one where a process has nothing else: all must take part in a step.
    """
    padding = np.array([pad_id])

    def tensors(share: Sequence[BatchSlot]) -> Batch:
        rows = [place.row for place in share]
        if share[0].width is None:
            rows = [row for row in rows if row != PADDING_ROW] or [PADDING_ROW]
        encoded = [(row, tokens[row] if row != PADDING_ROW else padding) for row in rows]
        if layout == "packed":
            encoded.sort(key=lambda pair: len(pair[1]))  # those of one length are neighbours
        taken = np.array([row for row, _ in encoded])
        wanted = np.full(len(taken), IGNORE_INDEX, np.int64)
        if labels is not None:
            wanted[taken != PADDING_ROW] = labels[taken[taken != PADDING_ROW]]
        given = make_inputs([ids for _, ids in encoded], layout, pad_id, share[0].width)
        return given | {"labels": torch.from_numpy(wanted), "rows": torch.from_numpy(taken)}

    return tensors
