"""Which programs a compiler will have to make for a run: known before its first step, from its batches' shapes."""

from collections.abc import Iterable
from itertools import islice

import numpy as np
import torch
from torch import nn

from accel_clf.data.collate import GlobalBatchSampler, buckets, collate
from accel_clf.data.sampling import PADDING_ROW, step_seed
from accel_clf.inference.forward import GATHERED_ROWS, batches_by_length, logits
from accel_clf.strategies.base import CompiledGraph, Strategy
from accel_clf.training.batches import epoch_batches
from accel_clf.training.loop import LOG_EVERY, train_step
from accel_clf.training.prepare import PreparedRun
from accel_clf.training.step_sync import BESIDE_LOSSES


def expected_graphs(
    epochs: Iterable[GlobalBatchSampler],
    accumulate: int,
    evaluations: Iterable[GlobalBatchSampler],
    processes: int,
    classes: int,
) -> set[CompiledGraph]:
    """Every program of training and evaluation; all batches are in the bucketed layout.

    Args:
        epochs: each epoch's batches.
        accumulate: how many of them make a step.
        evaluations: the batches of each part that is measured.
        processes: that share each batch.
        classes: the model's outputs.
    """
    # Whatever the rows: an answer or digest of each process, and the losses of a line of the log.
    programs = {
        CompiledGraph("gather torch.int64", (1,)),
        CompiledGraph("gather torch.float32", (LOG_EVERY + BESIDE_LOSSES,)),
    }
    for batches in epochs:
        number = np.arange(len(batches))
        first = number % accumulate == 0
        last = (number % accumulate == accumulate - 1) | (number == len(batches) - 1)
        size = batches.batch_size // processes
        for width, starts, ends in {*zip(_widths(batches), first.tolist(), last.tolist(), strict=True)}:
            programs.add(CompiledGraph("training", (size, width), starts, ends))
    for batches in evaluations:
        size = batches.batch_size // processes
        programs |= {CompiledGraph("evaluation", (size, width)) for width in _widths(batches)}
        programs |= {
            CompiledGraph("gather torch.int64", (GATHERED_ROWS,)),
            CompiledGraph("gather torch.float32", (GATHERED_ROWS, classes)),
        }
    return programs


def graphs_of_run(job: PreparedRun, processes: int) -> set[CompiledGraph]:
    """Every program of a job."""
    config, rows = job.config, job.training_rows("bucketed")
    measured = [tokens for part, tokens in job.tokens.items() if part != "train"]
    size, length = config.batch.evaluation_size, config.data.max_length
    return expected_graphs(
        (epoch_batches(rows, config, processes, epoch) for epoch in range(config.training.epochs)),
        config.batch.accumulate,
        (batches_by_length(tokens, size, processes, "bucketed", length) for tokens in measured),
        processes,
        len(job.parts.train.label_names),
    )


def compile_ahead(
    missing: set[CompiledGraph],
    announced: set[CompiledGraph],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    job: PreparedRun,
    strategy: Strategy,
) -> None:
    """Run programs that later jobs will need, so that they are compiled now, once.

    Args:
        missing: which.
        announced: all that will be needed.
        model, optimizer: as `strategy` prepared them for a job that is over; they are not what they were, afterwards.
        job: has a row of each width.
        strategy: the hardware.
    """
    config, rows = job.config, job.training_rows("bucketed")
    widths = buckets(rows.tokens.lengths, config.data.max_length)
    tensors = collate(rows.tokens, rows.labels, rows.pad_id, "bucketed")
    training = sorted(program for program in announced if program.kind == "training")  # the same on all cores

    def row(width: int) -> int:
        return int(np.flatnonzero(widths == width)[0])

    def neighbour(first: bool, last: bool) -> CompiledGraph:
        return next(program for program in training if (program.first, program.last) == (first, last))

    for program in sorted(missing):
        if program.kind == "evaluation":
            one = rows.tokens.take(np.array([row(program.shape[1])]))
            size, length = config.batch.evaluation_size, config.data.max_length
            logits(model, one, strategy, size=size, layout="bucketed", max_length=length, pad_id=rows.pad_id)
        elif program.kind == "training":
            step = [program] if program.first else [neighbour(True, False), program]
            step += [] if program.last else [neighbour(False, True)]
            places = np.full((len(step), config.batch.size * strategy.processes), PADDING_ROW)
            places[:, 0] = [row(micro_batch.shape[1]) for micro_batch in step]
            batches = GlobalBatchSampler(places, rows.tokens.lengths, "bucketed", config.data.max_length)
            model.train()
            strategy.seed(step_seed(config.training.seed, 0, strategy.process))
            # Not asked for another, which would end the step's program early.
            share = islice(strategy.batches(batches, tensors), len(step))
            train_step(model, optimizer, share, len(step), len(step), strategy, config.training.max_grad_norm)


def _widths(batches: GlobalBatchSampler) -> list[int]:
    assert batches.widths is not None, "shapes are few in the bucketed layout only"
    widths: list[int] = batches.widths.tolist()
    return widths
