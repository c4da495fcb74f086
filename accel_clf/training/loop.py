"""THE training loop: fit() is the schedule, train_step() the arithmetic."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from accel_clf.config.schema import Config
from accel_clf.core.console import progress_bar
from accel_clf.core.errors import Interrupted
from accel_clf.data import sampling
from accel_clf.data.collate import IGNORE_INDEX, Batch, model_inputs
from accel_clf.strategies.base import Strategy
from accel_clf.training.batches import TrainingRows, _steps
from accel_clf.training.optim import lr_at, set_lr
from accel_clf.training.state import TrainState
from accel_clf.training.step_sync import StepSync

LOG_EVERY = 10


def fit(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    rows: TrainingRows,
    config: Config,
    strategy: Strategy,
    *,
    progress: TrainState,
    measure: Callable[[int], bool] | None,
    keep: Callable[[], None],
    save: Callable[[], None],
    record: Callable[[dict[str, Any]], None],
    log_every: int = LOG_EVERY,
    show_progress: bool = True,
) -> None:
    """Train from where `progress` is to the end, and keep the best model.

    Args:
        model, optimizer: as `strategy` prepared them.
        rows: what to learn from.
        config: the run's settings.
        strategy: the hardware.
        progress: goes on from there.
        measure: whether the model after so many steps is the best so far (the first process's answer counts); None
            without validation rows.
        keep: writes down the model, which is the best so far.
        save: writes down the state of the run, `progress` included.
        record: receives a line of the log.
        log_every: steps a line; reading a loss makes the host wait for the device.
        show_progress: whether to show progress.

    Raises:
        Interrupted: a signal has asked for it, and `save` was called.
        UserError: the loss is not a number.
    """
    training, at = config.training, progress
    steps_per_epoch = sampling.count_steps(len(rows.labels), config.batch.rows_per_step(strategy.processes))
    total = training.epochs * steps_per_epoch
    every = steps_per_epoch if config.evaluation.every == "epoch" else config.evaluation.every
    meeting = StepSync(strategy, at, rows.ids, log_every, config.checkpoint.minutes)
    steps = _steps(rows, config, strategy, at.step, steps_per_epoch)
    saved = at.step

    model.train()
    with progress_bar("training", total, show_progress and strategy.is_main) as bar:
        bar.advance(at.step)
        while True:
            better, asked = False, meeting.signal
            if not asked and at.measured < at.step and (at.step == total or (measure and at.step % every == 0)):
                try:
                    better = strategy.broadcast_flag(measure(at.step)) if measure else True
                except Interrupted as interrupted:
                    asked = interrupted.signum  # measured when the run goes on
                else:
                    at.measured = at.step
                    at.fruitless += 1
                    if better:
                        at.best_step, at.fruitless = at.step, 0
                        keep()
                    at.stopped_early = at.fruitless == config.evaluation.patience
                model.train()
                meeting.restart()  # an evaluation's time is not training's
            ended = at.step == total or at.stopped_early
            if at.step > saved and (better or ended or asked or meeting.late or at.step % config.checkpoint.steps == 0):
                meeting.read()
                save()
                saved = at.step
                meeting.after_save()
            if asked:
                raise Interrupted(asked)
            if ended:
                return

            step = next(steps)
            strategy.seed(sampling.step_seed(training.seed, at.step, strategy.process))
            step_rate = lr_at(at.step, total, at.peak, training.warmup, training.schedule)
            set_lr(optimizer, step_rate)
            loss, norm = train_step(
                model, optimizer, step.share, len(step.places), step.rows, strategy, training.max_grad_norm
            )
            at.step += 1
            bar.advance()
            logs = at.step % log_every == 0 or at.step % every == 0 or at.step == total
            meeting.after(loss, step, read=logs)
            if logs:
                line = {"epoch": step.epoch + 1, "step": at.step, "rate": step_rate, **_summary(at)}
                # fp16's scaler finds its scale by steps that overflow and are left out: their norm is infinite.
                if norm is not None and math.isfinite(norm_now := float(norm)):
                    line["grad_norm"] = norm_now
                record({"event": "train", **line})
                bar.advance(0, note=f"loss {line['loss']:.4f}  {line['rows_per_second']:.0f} rows/s")


def train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Iterable[Batch],
    count: int,
    rows: int,
    strategy: Strategy,
    max_norm: float | None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """One optimizer step: the gradient of the mean loss over the step's rows on all processes.

    Args:
        model: in training mode.
        batches: this process's share of the step's micro-batches: what the model takes, and labels int64 [B].
        count: how many micro-batches there are.
        rows: how many rows the step has on all processes, fillers not counted.
        max_norm: see Strategy.step.

    Returns:
        This process's part of the summed loss, a scalar on the device, and the gradient's norm, where it is known.
    """
    total: torch.Tensor | float = 0.0
    for number, batch in enumerate(batches, start=1):
        with strategy.micro_batch(model, last=number == count):
            logits = model(**model_inputs(batch)).logits
            # A sum, divided by the rows of the whole step, so that neither a ragged last batch nor an uneven share
            # weighs more than its rows (as pytorch/torchtitan does).
            loss = cross_entropy(logits.float(), batch["labels"], ignore_index=IGNORE_INDEX, reduction="sum")
            strategy.backward(loss, rows)
            total = loss.detach() + total  # here, where a compiler sees it as a part of the batch's program
    assert isinstance(total, torch.Tensor), "a step has a batch"
    return total, strategy.step(optimizer, max_norm)


def _summary(at: TrainState) -> dict[str, Any]:
    """What a line of the log says of the steps since the last one."""
    means = [loss / rows for loss, rows in zip(at.losses, at.rows, strict=True)]
    line = {
        "loss": math.fsum(means) / len(means),
        "rows_per_second": sum(at.rows) / (at.seconds - at.logged_seconds),
    }
    at.losses, at.rows, at.logged_seconds = [], [], at.seconds
    return line
