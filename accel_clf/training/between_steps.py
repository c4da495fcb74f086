"""What happens between optimizer steps; each part knows whether it is due.

Logging, evaluation with the best model and early stopping, checkpoints.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from accel_clf.core.errors import Interrupted
from accel_clf.strategies.base import Strategy
from accel_clf.training.state import TrainState
from accel_clf.training.step_sync import StepSync


@dataclass(frozen=True)
class Schedule:
    """When things are due, in optimizer steps.

    Attributes:
        total: of the whole run.
        log_every: between two lines of the log.
        evaluate_every: between two evaluations.
        checkpoint_every: between two checkpoints; infinite where minutes count.
    """

    total: int
    log_every: int
    evaluate_every: int
    checkpoint_every: float


class StepLogger:
    """Writes a line of the log every few steps, before each evaluation and at the end.

    Args:
        state: the run's.
        schedule: when.
        log_metrics: receives a line.
    """

    def __init__(self, state: TrainState, schedule: Schedule, log_metrics: Callable[[dict[str, Any]], None]) -> None:
        self.state, self.schedule, self.log_metrics = state, schedule, log_metrics

    def is_due(self) -> bool:
        """Whether a line is due; the losses of its steps have to be read for it."""
        step, schedule = self.state.step, self.schedule
        return step % schedule.log_every == 0 or step % schedule.evaluate_every == 0 or step == schedule.total

    def log_if_due(self, epoch: int, lr: float, norm: torch.Tensor | None) -> str | None:
        """Write a line, if one is due; return what a progress bar shows of it.

        Args:
            epoch: from 0.
            lr: the step's learning rate.
            norm: of its gradient, where it is known.
        """
        if not self.is_due():
            return None
        line = {"epoch": epoch + 1, "step": self.state.step, "rate": lr, **self._means()}
        # fp16's scaler finds its scale by steps that overflow and are skipped: their norm is infinite.
        if norm is not None and math.isfinite(grad_norm := float(norm)):
            line["grad_norm"] = grad_norm
        self.log_metrics({"event": "train", **line})
        return f"loss {line['loss']:.4f}  {line['rows_per_second']:.0f} rows/s"

    def _means(self) -> dict[str, Any]:
        """Average the steps since the last line, and forget them."""
        state = self.state
        losses = [loss / rows for loss, rows in zip(state.losses, state.rows, strict=True)]
        means = {
            "loss": math.fsum(losses) / len(losses),
            "rows_per_second": sum(state.rows) / (state.seconds - state.logged_seconds),
        }
        state.losses, state.rows, state.logged_seconds = [], [], state.seconds
        return means


class EarlyStopping:
    """Stops a run after some evaluations without improvement.

    Args:
        state: the run's.
        patience: how many; None for never.
    """

    def __init__(self, state: TrainState, patience: int | None) -> None:
        self.state, self.patience = state, patience

    def update(self, improved: bool) -> None:
        """Take an evaluation's result."""
        state = self.state
        state.evals_without_improvement = 0 if improved else state.evals_without_improvement + 1
        state.stopped_early = state.evals_without_improvement == self.patience


class Evaluator:
    """Evaluates the model every few steps and at the end, and saves the best one.

    Args:
        model: in training mode, to which it returns.
        strategy: the hardware.
        state: the run's.
        schedule: when.
        sync: of the run's processes.
        early_stopping: takes the results.
        evaluate: whether the model after so many steps is the best so far (rank 0's result counts); None without
            validation rows: then the last model is the best.
        save_best: saves the model.
    """

    def __init__(
        self,
        model: nn.Module,
        strategy: Strategy,
        state: TrainState,
        schedule: Schedule,
        sync: StepSync,
        early_stopping: EarlyStopping,
        evaluate: Callable[[int], bool] | None,
        save_best: Callable[[], None],
    ) -> None:
        self.model, self.strategy, self.state, self.schedule = model, strategy, state, schedule
        self.sync, self.early_stopping, self.evaluate, self.save_best = sync, early_stopping, evaluate, save_best

    def is_due(self) -> bool:
        """Whether the model is to be evaluated now; a run that has to stop does so when it resumes."""
        state, schedule = self.state, self.schedule
        at_end = state.step == schedule.total
        at_interval = self.evaluate is not None and state.step % schedule.evaluate_every == 0
        return not self.sync.stop_signal and state.evaluated_step < state.step and (at_end or at_interval)

    def evaluate_if_due(self) -> bool:
        """Evaluate the model, if that is due; return whether it is the best so far."""
        if not self.is_due():
            return False
        improved = False
        try:
            improved = self.strategy.broadcast_flag(self.evaluate(self.state.step)) if self.evaluate else True
        except Interrupted as interrupted:
            self.sync.stop_signal = interrupted.signum
        else:
            self.state.evaluated_step = self.state.step
            self.early_stopping.update(improved)
            if improved:
                self.state.best_step = self.state.step
                self.save_best()
        self.model.train()
        self.sync.restart_clock()  # an evaluation's time is not training's
        return improved


class Checkpointer:
    """Saves the run's state every few steps or minutes, with each best model, at the end, and before a stop.

    Args:
        state: the run's.
        schedule: when, in steps.
        sync: of the run's processes; knows when, in minutes.
        save_checkpoint: saves the run's state.
    """

    def __init__(
        self, state: TrainState, schedule: Schedule, sync: StepSync, save_checkpoint: Callable[[], None]
    ) -> None:
        self.state, self.schedule, self.sync, self.save_checkpoint = state, schedule, sync, save_checkpoint
        self._saved_step = state.step

    def is_due(self, improved: bool) -> bool:
        """Whether the state is to be saved now.

        Args:
            improved: whether the model is the best so far.
        """
        state, sync = self.state, self.sync
        at_interval = state.step % self.schedule.checkpoint_every == 0
        is_last = state.is_finished(self.schedule.total) or bool(sync.stop_signal)
        return state.step > self._saved_step and (improved or is_last or sync.checkpoint_due or at_interval)

    def save_if_due(self, improved: bool) -> None:
        """Save the state, if that is due; see `is_due`."""
        if self.is_due(improved):
            self.sync.read_losses()
            self.save_checkpoint()
            self._saved_step = self.state.step
            self.sync.checkpoint_saved()
