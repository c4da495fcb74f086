"""Which programs a compiler will have to make for a run: known before its first step, from its batches' shapes."""

from collections.abc import Iterable

import numpy as np

from accel_clf.data.layouts import GlobalBatches
from accel_clf.loop import BESIDE_LOSSES, LOG_EVERY
from accel_clf.strategies.base import Program


def expected(
    epochs: Iterable[GlobalBatches],
    accumulate: int,
    evaluations: Iterable[GlobalBatches],
    processes: int,
    classes: int,
) -> set[Program]:
    """Every program of training and evaluation; all batches are in the bucketed layout.

    Args:
        epochs: each epoch's batches.
        accumulate: how many of them make a step.
        evaluations: the batches of each part that is measured.
        processes: that share each batch.
        classes: the model's outputs.
    """
    # Whatever the rows: an answer or digest of each process, and the losses of a line of the log.
    programs = {Program("gather torch.int64", (1,)), Program("gather torch.float32", (LOG_EVERY + BESIDE_LOSSES,))}
    for batches in epochs:
        number = np.arange(len(batches))
        first = number % accumulate == 0
        last = (number % accumulate == accumulate - 1) | (number == len(batches) - 1)
        size = batches.batch_size // processes
        for width, starts, ends in {*zip(_widths(batches), first.tolist(), last.tolist(), strict=True)}:
            programs.add(Program("training", (size, width), starts, ends))
    for batches in evaluations:
        size = batches.batch_size // processes
        programs |= {Program("evaluation", (size, width)) for width in _widths(batches)}
        answers = len(batches) * size
        programs |= {Program("gather torch.int64", (answers,)), Program("gather torch.float32", (answers, classes))}
    return programs


def _widths(batches: GlobalBatches) -> list[int]:
    assert batches.widths is not None, "shapes are few in the bucketed layout only"
    widths: list[int] = batches.widths.tolist()
    return widths
