"""Every row through the model exactly once, whatever the number of processes."""

from math import ceil

import numpy as np
import torch
from torch import nn

from accel_clf.core.console import progress_bar
from accel_clf.core.errors import UserError
from accel_clf.data import sampling
from accel_clf.data.collate import GlobalBatchSampler, collate, model_inputs
from accel_clf.data.sampling import PADDING_ROW
from accel_clf.data.tokenization import TokenizedDataset
from accel_clf.strategies.base import Strategy

BATCHES_BETWEEN_MEETINGS = 10  # of several processes


TOKENS = 2048  # of a process and batch on a CPU: layers that make more ask the system for new memory each time


GATHERED_ROWS = 1024  # of each process at a time: one shape, however many rows there are, for compilers


def batches_by_length(
    tokens: TokenizedDataset, size: int, processes: int, layout: str, max_length: int, most_tokens: int | None = None
) -> GlobalBatchSampler:
    """All rows, the longest first: rows of like length share a batch, so that little is padding.

    Args:
        tokens: of the rows.
        size: rows a process and batch, at most.
        processes: which share a batch.
        layout: "padded", "bucketed" or "packed".
        max_length: the longest a row can be.
        most_tokens: a process and batch, where any number of rows will do.
    """
    rows: np.ndarray = np.argsort(-tokens.lengths, kind="stable")
    if most_tokens is None:
        rows = sampling.global_batches(rows, size * processes)
    else:
        rows = sampling.token_limited_batches(rows, tokens.lengths, size, most_tokens, processes)
    return GlobalBatchSampler(rows, tokens.lengths, layout, max_length)


def logits(
    model: nn.Module,
    tokens: TokenizedDataset,
    strategy: Strategy,
    *,
    size: int,
    layout: str,
    max_length: int,
    pad_id: int,
    show_progress: bool = True,
) -> np.ndarray:
    """The model's answers to all rows, on all processes: float32 [rows, classes].

    Args:
        model: as `strategy` prepared it.
        tokens: of the rows.
        size: rows a process and batch, at most.
        layout: "padded", "bucketed" or "packed".
        max_length: the longest a row can be.
        pad_id: the tokenizer's padding token.
        show_progress: whether to show progress.

    Raises:
        Interrupted: a signal has asked for it.
        UserError: a row is missing or came twice.
    """
    most_tokens = TOKENS if strategy.device.type == "cpu" and layout != "bucketed" else None
    batches = batches_by_length(tokens, size, strategy.processes, layout, max_length, most_tokens)
    model.eval()
    found: list[torch.Tensor] = []
    ids: list[torch.Tensor] = []
    with torch.no_grad(), progress_bar("evaluating", len(batches), show_progress and strategy.is_main) as progress:
        for batch in strategy.batches(batches, collate(tokens, None, pad_id, layout)):
            if len(ids) % (1 if strategy.processes == 1 else BATCHES_BETWEEN_MEETINGS) == 0:
                strategy.raise_if_stopped()
            answers = model(**model_inputs(batch)).logits
            found.append(answers.float())
            ids.append(batch["rows"])
            progress.advance()
    mine, my_ids = torch.cat([part.cpu() for part in found]), torch.cat([part.cpu() for part in ids])
    mine, my_ids = mine[my_ids != PADDING_ROW], my_ids[my_ids != PADDING_ROW]
    # All processes fill up to the same size before they meet.
    shares = batches.rows.reshape(len(batches), strategy.processes, size)
    most = int((shares != PADDING_ROW).sum(axis=(0, 2)).max())
    missing = ceil(most / GATHERED_ROWS) * GATHERED_ROWS - len(my_ids)
    all_ids = _gather(torch.nn.functional.pad(my_ids, (0, missing), value=PADDING_ROW), strategy)
    answers_of_all = _gather(torch.nn.functional.pad(mine, (0, 0, 0, missing)), strategy)
    real = all_ids != PADDING_ROW
    if not np.array_equal(np.sort(all_ids[real]), np.arange(len(tokens))):
        raise UserError(
            f"evaluation answered {real.sum()} rows, {len(np.unique(all_ids[real]))} different ones",
            f"each of {len(tokens)} rows once",
            "please report this, with the command",
        )
    in_order = np.empty((len(tokens), answers_of_all.shape[1]), np.float32)
    in_order[all_ids[real]] = answers_of_all[real]
    return in_order


def _gather(rows: torch.Tensor, strategy: Strategy) -> np.ndarray:
    """Rows of all processes, in some order that is the same for everything that is gathered."""
    return torch.cat([strategy.gather(part) for part in torch.split(rows, GATHERED_ROWS)]).numpy()
