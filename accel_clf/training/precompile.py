"""Which graphs a compiler will make for a run: known before its first step, from its batches' shapes."""

from collections.abc import Iterable
from itertools import islice

import numpy as np
import torch
from torch import nn

from accel_clf.data.collate import GlobalBatchSampler, bucket_widths
from accel_clf.data.sampling import PADDING_ROW, step_seed
from accel_clf.inference.forward import GATHERED_ROWS, batches_by_length, compute_logits
from accel_clf.strategies.base import CompiledGraph, Strategy
from accel_clf.training.batches import epoch_batches, labelled_collate
from accel_clf.training.loop import LOG_EVERY, train_step
from accel_clf.training.prepare import PreparedRun
from accel_clf.training.step_sync import EXTRA_NUMBERS


def expected_graphs(
    epochs: Iterable[GlobalBatchSampler],
    accumulate: int,
    evaluations: Iterable[GlobalBatchSampler],
    processes: int,
    classes: int,
) -> set[CompiledGraph]:
    """Return every graph of training and evaluation; all batches are in the bucketed layout.

    Args:
        epochs: each epoch's batches.
        accumulate: how many of them make a step.
        evaluations: the batches of each split that is evaluated.
        processes: how many share a batch.
        classes: the model's outputs.
    """
    # Whatever the rows: a flag or digest of each process, and the losses of a line of the log.
    graphs = {
        CompiledGraph("gather torch.int64", (1,)),
        CompiledGraph("gather torch.float32", (LOG_EVERY + EXTRA_NUMBERS,)),
    }
    for batches in epochs:
        number = np.arange(len(batches))
        first = number % accumulate == 0
        last = (number % accumulate == accumulate - 1) | (number == len(batches) - 1)
        size = batches.batch_size // processes
        for width, is_first, is_last in {*zip(_widths(batches), first.tolist(), last.tolist(), strict=True)}:
            graphs.add(CompiledGraph("training", (size, width), is_first, is_last))
    for batches in evaluations:
        size = batches.batch_size // processes
        graphs |= {CompiledGraph("evaluation", (size, width)) for width in _widths(batches)}
        graphs |= {
            CompiledGraph("gather torch.int64", (GATHERED_ROWS,)),
            CompiledGraph("gather torch.float32", (GATHERED_ROWS, classes)),
        }
    return graphs


def graphs_of_run(prepared: PreparedRun, processes: int) -> set[CompiledGraph]:
    """Return every graph of a run."""
    config, rows = prepared.config, prepared.training_rows("bucketed")
    evaluated = [tokens.in_both_orders() for split, tokens in prepared.tokens.items() if split != "train"]
    size, length = config.batch.evaluation_size, config.data.max_length
    return expected_graphs(
        (epoch_batches(rows, config, processes, epoch) for epoch in range(config.training.epochs)),
        config.batch.accumulate,
        (batches_by_length(tokens, size, processes, "bucketed", length) for tokens in evaluated),
        processes,
        len(prepared.splits.train.target.output_names),
    )


def compile_ahead(
    pending: set[CompiledGraph],
    registered: set[CompiledGraph],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    prepared: PreparedRun,
    strategy: Strategy,
) -> None:
    """Run graphs that later runs will need, so that they are compiled now, once.

    Args:
        pending: the graphs to run.
        registered: all that will be needed.
        model, optimizer: as `strategy` prepared them for a run that is over; their values change.
        prepared: has a row of each width.
        strategy: the hardware.
    """
    config, rows = prepared.config, prepared.training_rows("bucketed")
    widths = bucket_widths(rows.tokens.lengths, config.data.max_length)
    to_tensors = labelled_collate(rows, config.data.max_length)
    training = sorted(graph for graph in registered if graph.kind == "training")  # the same on all cores

    def row_of(width: int) -> int:
        return int(np.flatnonzero(widths == width)[0])

    def neighbour(first: bool, last: bool) -> CompiledGraph:
        return next(graph for graph in training if (graph.first, graph.last) == (first, last))

    for graph in sorted(pending):
        if graph.kind == "evaluation":
            row = rows.tokens.take(np.array([row_of(graph.shape[1])]))
            size, length = config.batch.evaluation_size, config.data.max_length
            compute_logits(model, row, strategy, size=size, layout="bucketed", max_length=length, padding=rows.padding)
        elif graph.kind == "training":
            step = [graph] if graph.first else [neighbour(True, False), graph]
            step += [] if graph.last else [neighbour(False, True)]
            slots = np.full((len(step), config.batch.size * strategy.processes), PADDING_ROW)
            slots[:, 0] = [row_of(micro_batch.shape[1]) for micro_batch in step]
            batches = GlobalBatchSampler(slots, rows.tokens.lengths, "bucketed", config.data.max_length)
            model.train()
            strategy.seed(step_seed(config.training.seed, 0, strategy.process))
            # Not one batch more, which would end the step's graph early.
            share = islice(strategy.batches(batches, to_tensors), len(step))
            train_step(
                model,
                optimizer,
                rows.objective.loss,
                share,
                len(step),
                len(step),
                strategy,
                config.training.max_grad_norm,
            )


def _widths(batches: GlobalBatchSampler) -> list[int]:
    assert batches.widths is not None, "shapes are few in the bucketed layout only"
    widths: list[int] = batches.widths.tolist()
    return widths
