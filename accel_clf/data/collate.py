"""Rows to tensors: padded to what the batch needs, padded to one of a few widths (bucketed), or packed unpadded.

Packed comes in two forms: "packed" for CPUs, whose kernels go by the lengths on the host, and "varlen" for GPUs, whose
kernels read them on the device, and for which batches have few shapes.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from accel_clf.data.sampling import PADDING_ROW
from accel_clf.data.tokenization import TokenizedDataset
from accel_clf.data.windows import split_windows

WIDTHS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
IDS, TYPES = "input_ids", "token_type_ids"
NOT_MODEL_INPUTS = ("labels", "rows")
SHAPES_PER_DOUBLING, SMALLEST_STEP = 16, 64  # token counts of varlen batches: between a power of two and the next


class BatchSlot(NamedTuple):
    """A slot in a batch.

    Attributes:
        row: the row that fills it, or PADDING_ROW.
        width: of the whole batch, on all processes; None where each process pads its own share, or does not pad.
    """

    row: int
    width: int | None


class Padding(NamedTuple):
    """How a model's rows are padded.

    Attributes:
        id: the padding token.
        side: on which it stands, "right" or "left".
        ending: token ids that each row ends in, also one that stands for none, as some heads ask for.
    """

    id: int
    side: str = "right"
    ending: tuple[int, ...] = ()


Batch = dict[str, Any]  # the model's inputs, plus labels and rows
Collate = Callable[[Sequence[BatchSlot]], Batch]


def bucket_widths(lengths: np.ndarray, max_length: int) -> np.ndarray:
    """Return for each length the narrowest of WIDTHS that holds it; max_length itself is the widest."""
    widths = np.array([width for width in WIDTHS if width < max_length] + [max_length])
    bucketed: np.ndarray = widths[np.searchsorted(widths, lengths)]
    return bucketed


class GlobalBatchSampler:
    """Global batches, each shared out to all processes; as an iterable, the batch sampler of a DataLoader.

    Args:
        rows: int64 [batches, slots], PADDING_ROW in slots without a row.
        lengths: int64 [all rows], in tokens.
        layout: "padded" (each process pads to the longest row of its share), "bucketed" (one width for all),
            "packed" or "varlen".
        max_length: the longest that a row can be.

    Attributes:
        rows: as passed.
        widths: int64 [batches]; None where each process pads its own share, or does not pad.
        batch_size: slots per global batch.
    """

    drop_last = False

    def __init__(self, rows: np.ndarray, lengths: np.ndarray, layout: str, max_length: int) -> None:
        self.rows, self.batch_size = rows, rows.shape[1]
        longest = np.where(rows == PADDING_ROW, 1, lengths[rows]).max(axis=1)
        self.widths = bucket_widths(longest, max_length) if layout == "bucketed" else None

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[list[BatchSlot]]:
        for batch, rows in enumerate(self.rows):
            width = self._width(batch)
            yield [BatchSlot(row, width) for row in rows.tolist()]

    def slot(self, index: int) -> BatchSlot:
        """Return a slot by its index over all batches."""
        return BatchSlot(int(self.rows.flat[index]), self._width(index // self.batch_size))

    def _width(self, batch: int) -> int | None:
        return None if self.widths is None else int(self.widths[batch])


def pad(rows: Sequence[np.ndarray], pad_id: int, width: int | None = None, side: str = "right") -> Batch:
    """Stack rows into a padded batch, as any encoder takes it.

    Args:
        rows: token ids, int [length] each; or, with token types, [length, 2].
        pad_id: the padding token.
        width: of the tensors; None for that of the longest row.
        side: of the padding, "right" or "left".

    Returns:
        input_ids, token_type_ids where the rows have them, and attention_mask, which is 0 for padding: int64 [rows,
        width] each.
    """
    lengths = np.array([len(row) for row in rows])
    is_token = np.arange(width or int(lengths.max())) < lengths[:, None]
    if side == "left":
        is_token = is_token[:, ::-1]
    batch = {}
    for name, tokens in _concatenate(rows).items():
        padded = np.full(is_token.shape, pad_id if name == IDS else 0, np.int64)
        padded[is_token] = tokens
        batch[name] = torch.from_numpy(padded)
    return batch | {"attention_mask": torch.from_numpy(is_token.astype(np.int64))}


def _concatenate(rows: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Concatenate rows: int [all tokens] by the name of the model's input, of which token types may be one."""
    tokens = np.concatenate(rows)
    return {IDS: tokens} if tokens.ndim == 1 else {IDS: tokens[:, 0], TYPES: tokens[:, 1]}


def padding_row(padding: Padding, length: int, like: np.ndarray) -> np.ndarray:
    """Make a row that stands for none, of padding tokens and what rows end in.

    Args:
        padding: of the model's rows.
        length: in tokens; of a row that must end in more, as many as these.
        like: another row: int [length], or with token types [length, 2].
    """
    length = max(length, len(padding.ending))
    row = np.zeros((length, *like.shape[1:]), np.int32)
    row.reshape(length, -1)[:, 0] = [padding.id] * (length - len(padding.ending)) + list(padding.ending)
    return row


def pack(rows: Sequence[np.ndarray]) -> Batch:
    """Concatenate rows without padding, as an encoder takes them that models/packed has prepared.

    Args:
        rows: token ids, int [length] each; or, with token types, [length, 2].

    Returns:
        input_ids, token_type_ids where the rows have them, and position_ids (from 0 in each row), int64 [1, tokens]
        each; starts, the index of each row's first token, int64 [rows]; and lengths, a tuple that stays on the host.
    """
    lengths = np.array([len(row) for row in rows])
    starts = lengths.cumsum() - lengths
    return {
        **{name: torch.from_numpy(tokens.astype(np.int64))[None] for name, tokens in _concatenate(rows).items()},
        "position_ids": torch.from_numpy(np.arange(lengths.sum()) - np.repeat(starts, lengths))[None],
        "starts": torch.from_numpy(starts),
        "lengths": tuple(lengths.tolist()),
    }


def shape_step(tokens: int, shapes_per_doubling: int, smallest: int) -> int:
    """Return the step between the token counts that batches of about so many tokens may have."""
    return max(smallest, (1 << tokens.bit_length() - 1) // shapes_per_doubling)


def pack_varlen(rows: Sequence[np.ndarray], pad_id: int, max_length: int) -> Batch:
    """Concatenate rows and a filler, which makes shapes few: compilers and CUDA graphs are for one shape each.

    The filler is one document more, of at least one padding token; the tokens are 3% more on average.

    Args:
        rows: token ids, int [length] each; or, with token types, [length, 2].
        pad_id: the padding token.
        max_length: tokens of the longest possible row.

    Returns:
        input_ids, token_type_ids where the rows have them, and position_ids (from 0 in each row; 0 in the filler, which
        may be longer than a model has positions), int64 [1, tokens] each; cu_seqlens, where each row and the filler
        start, and the end, int32 [rows + 2]; and max_seqlen, the most tokens that one of them can have, the same for
        all batches of so many rows.
    """
    packed = pack(rows)
    tokens = packed[IDS].shape[1]
    step = shape_step(tokens, SHAPES_PER_DOUBLING, SMALLEST_STEP)
    filler = step - tokens % step
    largest_filler = shape_step(len(rows) * max_length, SHAPES_PER_DOUBLING, SMALLEST_STEP)
    return {
        **{
            name: torch.nn.functional.pad(packed[name], (0, filler), value=pad_id if name == IDS else 0)
            for name in (IDS, TYPES, "position_ids")
            if name in packed
        },
        "cu_seqlens": torch.cat([packed["starts"], torch.tensor([tokens, tokens + filler])]).int(),
        "max_seqlen": max(max_length, largest_filler),
    }


def make_inputs(
    rows: Sequence[np.ndarray], layout: str, padding: Padding, *, max_length: int, width: int | None = None
) -> Batch:
    """Make the model's inputs in a layout, by `pack`, `pack_varlen` or `pad`.

    Args:
        rows: token ids, int [length] each, or, with token types, [length, 2]; in windows, where they have more than
            `max_length`.
        layout: "padded", "bucketed", "packed" or "varlen".
        padding: of the model's rows.
        max_length: tokens of the longest possible row, or window of it.
        width: see `pad`.
    """
    windows, members = split_windows(rows, max_length, by_length=layout == "packed")
    if layout == "varlen":
        inputs = pack_varlen(windows, padding.id, max_length)
    else:
        inputs = pack(windows) if layout == "packed" else pad(windows, padding.id, width, padding.side)
    if members is not None:
        if layout == "varlen":  # whose filler is a document of its own; nobody reads its outputs
            members = np.pad(members, (0, 1))
            members[-1, -1] = True
        inputs["members"] = torch.from_numpy(members)
    return inputs


def model_inputs(batch: Batch) -> Batch:
    """Select the model's inputs from a batch."""
    return {name: value for name, value in batch.items() if name not in NOT_MODEL_INPUTS}


def collate(
    tokens: TokenizedDataset,
    padding: Padding,
    layout: str,
    max_length: int,
    labels: np.ndarray | None = None,
    padding_label: float = 0,
) -> Collate:
    """Make the function that turns a process's share of a global batch into tensors.

    Where shapes are few, padding rows keep their slots, as rows of one padding token or of `Padding.ending`, which
    count neither in the loss nor in metrics; nor does the varlen layout's filler. Otherwise they are dropped, except
    for one where a process has no other row: every process must take part in a step.

    Args:
        tokens: of all rows.
        padding: of the model's rows.
        layout: "padded", "bucketed", "packed" or "varlen".
        max_length: tokens of the longest possible row, or window of it.
        labels: [rows, ...], as the loss takes them; None without labels.
        padding_label: of padding rows.

    Rows of more than `max_length` tokens are divided into windows, and `members` among the inputs says which row each
    is of, see `windows.split_windows`.

    Returns:
        A function from slots to the model's inputs, rows (int64 [rows], PADDING_ROW for padding rows) and, where there
        are any, labels.
    """
    filler = padding_row(padding, 1, like=tokens.ids)

    def make_batch(slots: Sequence[BatchSlot]) -> Batch:
        rows = [slot.row for slot in slots]
        if slots[0].width is None and layout != "varlen":
            rows = [row for row in rows if row != PADDING_ROW] or [PADDING_ROW]
        tokenized = [(row, tokens[row] if row != PADDING_ROW else filler) for row in rows]
        if layout == "packed":
            tokenized.sort(key=lambda pair: len(pair[1]))  # rows of equal length become neighbours
        row_ids = np.array([row for row, _ in tokenized] + ([PADDING_ROW] if layout == "varlen" else []))
        token_ids = [ids for _, ids in tokenized]
        inputs = make_inputs(token_ids, layout, padding, max_length=max_length, width=slots[0].width)
        batch = inputs | {"rows": torch.from_numpy(row_ids)}
        if labels is not None:
            is_row = row_ids != PADDING_ROW
            row_labels = np.full((len(row_ids), *labels.shape[1:]), padding_label, labels.dtype)
            row_labels[is_row] = labels[row_ids[is_row]]
            batch["labels"] = torch.from_numpy(row_labels)
        return batch

    return make_batch
