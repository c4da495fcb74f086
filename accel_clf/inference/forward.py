"""Every row through the model exactly once, whatever the number of processes."""

from collections.abc import Callable
from math import ceil
from typing import Any

import numpy as np
import torch
from torch import nn

from accel_clf.core.console import progress_bar
from accel_clf.core.errors import UserError
from accel_clf.data import sampling
from accel_clf.data.collate import GlobalBatchSampler, Padding, collate, model_inputs
from accel_clf.data.sampling import PADDING_ROW
from accel_clf.data.tokenization import TokenizedDataset
from accel_clf.strategies.base import Strategy
from accel_clf.targets.base import Target

BATCHES_PER_SYNC = 10  # of several processes, which look for stop signals together
CPU_TOKENS = 2048  # of a process and batch on a CPU: layers that make more ask the system for new memory each time
GATHERED_ROWS = 1024  # of each process at a time: one shape, however many rows there are, for compilers


def batches_by_length(
    tokens: TokenizedDataset,
    size: int,
    processes: int,
    layout: str,
    max_length: int,
    max_tokens: int | None = None,
) -> GlobalBatchSampler:
    """Put all rows into batches, the longest first: rows of similar length share a batch, so that little is padding.

    Args:
        tokens: of the rows.
        size: maximum rows per process and batch.
        processes: how many share a batch.
        layout: "padded", "bucketed", "packed" or "varlen".
        max_length: tokens of the longest possible row.
        max_tokens: maximum per process and batch, where batches may have any number of rows.
    """
    rows: np.ndarray = np.argsort(-tokens.lengths, kind="stable")
    if max_tokens is None:
        rows = sampling.global_batches(rows, size * processes)
    else:
        rows = sampling.token_limited_batches(rows, tokens.lengths, size, max_tokens, processes)
    return GlobalBatchSampler(rows, tokens.lengths, layout, max_length)


def compute_logits(
    model: nn.Module,
    tokens: TokenizedDataset,
    strategy: Strategy,
    *,
    size: int,
    layout: str,
    max_length: int,
    padding: Padding,
    show_progress: bool = True,
    recover: Callable[[list[int]], np.ndarray] | None = None,
) -> np.ndarray:
    """Compute the model's outputs for all rows, on all processes: float32 [rows, classes].

    Args:
        model: as `strategy` prepared it.
        tokens: of the rows.
        size: maximum rows per process and batch.
        layout: "padded", "bucketed", "packed" or "varlen".
        max_length: tokens of the longest possible row.
        padding: of the model's rows.
        show_progress: whether rank 0 shows a bar.
        recover: answers a batch's rows where the model raises an exception for the batch; None lets it pass.

    Raises:
        Interrupted: a signal has asked to stop.
        UserError: a row is missing or came twice.
    """
    max_tokens = CPU_TOKENS if strategy.device.type == "cpu" and layout != "bucketed" else None
    batches = batches_by_length(tokens, size, strategy.processes, layout, max_length, max_tokens)
    to_tensors = collate(tokens, padding, layout, max_length)
    model.eval()
    outputs: list[torch.Tensor] = []
    ids: list[torch.Tensor] = []
    with torch.no_grad(), progress_bar("evaluating", len(batches), show_progress and strategy.is_main) as bar:
        for batch in strategy.batches(batches, to_tensors):
            if len(ids) % (1 if strategy.processes == 1 else BATCHES_PER_SYNC) == 0:
                strategy.raise_if_stopped()
            try:
                logits, rows = model(**model_inputs(batch)).logits.float(), batch["rows"]
            except Exception:
                if recover is None:
                    raise
                rows = batch["rows"][batch["rows"] != PADDING_ROW].cpu()
                logits = None
            if logits is None:  # after the exception, which holds memory of the device
                assert recover is not None
                logits = torch.from_numpy(recover(rows.tolist()))
            outputs.append(logits)
            ids.append(rows)
            bar.advance()
    local, local_ids = torch.cat([part.cpu() for part in outputs]), torch.cat([part.cpu() for part in ids])
    local, local_ids = local[local_ids != PADDING_ROW], local_ids[local_ids != PADDING_ROW]
    # All processes pad to the same number of rows before they gather.
    shares = batches.rows.reshape(len(batches), strategy.processes, size)
    largest_share = int((shares != PADDING_ROW).sum(axis=(0, 2)).max())
    missing = ceil(largest_share / GATHERED_ROWS) * GATHERED_ROWS - len(local_ids)
    all_ids = _gather(torch.nn.functional.pad(local_ids, (0, missing), value=PADDING_ROW), strategy)
    all_logits = _gather(torch.nn.functional.pad(local, (0, 0, 0, missing)), strategy)
    is_row = all_ids != PADDING_ROW
    if not np.array_equal(np.sort(all_ids[is_row]), np.arange(len(tokens))):
        raise UserError(
            f"evaluation answered {is_row.sum()} rows, {len(np.unique(all_ids[is_row]))} different ones",
            f"each of {len(tokens)} rows once",
            "please report this, with the command",
        )
    in_order = np.empty((len(tokens), all_logits.shape[1]), np.float32)
    in_order[all_ids[is_row]] = all_logits[is_row]
    return in_order


def answer_logits(
    model: nn.Module, tokens: TokenizedDataset, strategy: Strategy, target: Target, **options: Any
) -> np.ndarray:
    """Compute what `compute_logits` does; of symmetric pairs the logits that have the mean of both orders' scores.

    Args:
        model, tokens, strategy, options: see `compute_logits`.
        target: what is predicted.
    """
    logits = compute_logits(model, tokens.in_both_orders(), strategy, **options)
    if tokens.swapped is None:
        return logits
    first, second = np.split(target.scores(logits), 2)
    mean: np.ndarray = target.logits((first + second) / 2).astype(np.float32)
    return mean


def _gather(rows: torch.Tensor, strategy: Strategy) -> np.ndarray:
    """Gather rows of all processes, in some order that is the same for everything that is gathered."""
    return torch.cat([strategy.gather(part) for part in torch.split(rows, GATHERED_ROWS)]).numpy()
