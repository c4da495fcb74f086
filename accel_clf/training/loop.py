"""THE training loop: fit() is the schedule, train_step() the arithmetic."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from accel_clf.config.schema import Config
from accel_clf.core.console import progress_bar
from accel_clf.data.collate import Batch, model_inputs
from accel_clf.data.sampling import step_seed
from accel_clf.strategies.base import Strategy
from accel_clf.targets.objective import Loss
from accel_clf.training.batches import TrainingRows, count_steps_per_epoch, optimizer_steps
from accel_clf.training.between_steps import Checkpointer, EarlyStopping, Evaluator, Schedule, StepLogger
from accel_clf.training.optim import lr_at, set_lr
from accel_clf.training.state import TrainState
from accel_clf.training.step_sync import StepSync

LOG_EVERY = 10  # steps; reading a loss makes the host wait for the device


def fit(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    rows: TrainingRows,
    config: Config,
    strategy: Strategy,
    *,
    state: TrainState,
    evaluate: Callable[[int], bool] | None,
    save_best: Callable[[], None],
    save_checkpoint: Callable[[], None],
    log_metrics: Callable[[dict[str, Any]], None],
    log_every: int = LOG_EVERY,
    show_progress: bool = True,
) -> None:
    """Train from where `state` is to the end, and save the best model.

    Args:
        model, optimizer: as `strategy` prepared them.
        rows: to train on.
        config: the run's settings.
        strategy: the hardware.
        state: how far the run has come; updated in place.
        evaluate, save_best: see Evaluator.
        save_checkpoint: saves the run's state, `state` included.
        log_metrics: receives a line of the log.
        log_every: steps per line.
        show_progress: whether rank 0 shows a bar.

    Raises:
        Interrupted: a signal has asked to stop, and the state is saved.
        UserError: the loss is NaN or infinite.
    """
    training = config.training
    steps_per_epoch = count_steps_per_epoch(rows, config, strategy.processes)
    schedule = Schedule(
        total=training.epochs * steps_per_epoch,
        log_every=log_every,
        evaluate_every=steps_per_epoch if config.evaluation.every == "epoch" else config.evaluation.every,
        checkpoint_every=config.checkpoint.steps,
    )
    sync = StepSync(strategy, state, rows.ids, log_every, config.checkpoint.minutes)
    logger = StepLogger(state, schedule, log_metrics)
    early_stopping = EarlyStopping(state, config.evaluation.patience)
    evaluator = Evaluator(model, strategy, state, schedule, sync, early_stopping, evaluate, save_best)
    checkpointer = Checkpointer(state, schedule, sync, save_checkpoint)
    steps = optimizer_steps(rows, config, strategy, state.step, steps_per_epoch)

    model.train()
    with progress_bar("training", schedule.total, show_progress and strategy.is_main) as bar:
        bar.advance(state.step)
        evaluator.evaluate_if_due()  # where a run resumes that was stopped before this evaluation
        sync.raise_if_stopped()
        while not state.is_finished(schedule.total):
            step = next(steps)
            strategy.seed(step_seed(training.seed, state.step, strategy.process))
            lr = lr_at(state.step, schedule.total, state.peak_lr, training.warmup, training.schedule)
            set_lr(optimizer, lr)
            loss, norm = train_step(
                model,
                optimizer,
                rows.objective.loss,
                step.share,
                len(step.slots),
                step.rows,
                strategy,
                training.max_grad_norm,
            )
            state.step += 1

            sync.after_step(loss, step, read=logger.is_due())
            bar.advance(1, note=logger.log_if_due(step.epoch, lr, norm))
            improved = evaluator.evaluate_if_due()
            checkpointer.save_if_due(improved)
            sync.raise_if_stopped()


def train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss_of: Loss,
    batches: Iterable[Batch],
    count: int,
    rows: int,
    strategy: Strategy,
    max_norm: float | None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Take one optimizer step along the gradient of the mean loss over the step's rows on all processes.

    Args:
        model: in training mode.
        loss_of: logits float32 [rows, outputs] and labels, summed over rows.
        batches: this process's share of the step's micro-batches: the model's inputs, and labels [rows, ...].
        count: how many micro-batches there are.
        rows: how many rows the step has on all processes, padding rows not counted.
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
            loss = loss_of(logits.float(), batch["labels"])
            strategy.backward(loss, rows)
            total = loss.detach() + total  # here, where a compiler sees it as a part of the batch's graph
    assert isinstance(total, torch.Tensor), "a step has a batch"
    return total, strategy.step(optimizer, max_norm)
