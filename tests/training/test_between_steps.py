"""What is due after which step: log lines, evaluations, checkpoints; and what a stop signal changes."""

from collections.abc import Callable
from signal import SIGINT, SIGTERM
from typing import Any, cast

import pytest
import torch
from torch import nn

from accel_clf.core.errors import Interrupted
from accel_clf.strategies.base import Strategy
from accel_clf.training.between_steps import Checkpointer, EarlyStopping, Evaluator, Schedule, StepLogger
from accel_clf.training.state import TrainState
from accel_clf.training.step_sync import StepSync

SCHEDULE = Schedule(total=10, log_every=4, evaluate_every=3, checkpoint_every=5)


class FakeStrategy:
    """A single process."""

    def broadcast_flag(self, flag: bool) -> bool:
        return flag


class FakeSync:
    """A StepSync that reads no losses, signals or clock, and records its calls."""

    def __init__(self) -> None:
        self.stop_signal, self.checkpoint_due = 0, False
        self.calls: list[str] = []

    def restart_clock(self) -> None:
        self.calls.append("restart_clock")

    def read_losses(self) -> None:
        self.calls.append("read_losses")

    def checkpoint_saved(self) -> None:
        self.calls.append("checkpoint_saved")
        self.checkpoint_due = False


class Parts:
    """Logger, evaluator and checkpointer of a run, and what they have logged and saved.

    Args:
        evaluate: see Evaluator; by default each model is the best so far.
        patience: see EarlyStopping.
        step: where the run resumes.
    """

    def __init__(
        self,
        evaluate: Callable[[int], bool] | None = lambda step: True,
        patience: int | None = None,
        step: int = 0,
    ) -> None:
        self.state, self.sync, self.model = TrainState(1.0, step), FakeSync(), nn.Linear(2, 2)
        self.lines: list[dict[str, Any]] = []
        self.saved_best: list[int] = []
        self.checkpoints: list[int] = []
        sync = cast(StepSync, self.sync)
        self.logger = StepLogger(self.state, SCHEDULE, self.lines.append)
        self.evaluator = Evaluator(
            self.model,
            cast(Strategy, FakeStrategy()),
            self.state,
            SCHEDULE,
            sync,
            EarlyStopping(self.state, patience),
            evaluate,
            lambda: self.saved_best.append(self.state.step),
        )
        self.checkpointer = Checkpointer(self.state, SCHEDULE, sync, lambda: self.checkpoints.append(self.state.step))

    def run(self) -> None:
        """Take all steps, as `fit` does."""
        while not self.state.is_finished(SCHEDULE.total):
            self.state.step += 1
            self.checkpointer.save_if_due(self.evaluator.evaluate_if_due())


def test_log_line_is_due_at_its_interval_before_an_evaluation_and_at_the_end() -> None:
    due = [step for step in range(1, SCHEDULE.total + 1) if Parts(step=step).logger.is_due()]
    assert due == [3, 4, 6, 8, 9, 10]


def test_log_line_has_the_mean_of_the_steps_since_the_last() -> None:
    parts = Parts()
    state = parts.state
    state.step, state.losses, state.rows, state.seconds, state.logged_seconds = 3, [8.0, 12.0], [8, 4], 3.0, 1.0
    assert parts.logger.log_if_due(0, 0.5, torch.tensor(2.0)) == "loss 2.0000  6 rows/s"
    expected = {"epoch": 1, "step": 3, "rate": 0.5, "loss": 2.0, "rows_per_second": 6.0, "grad_norm": 2.0}
    assert parts.lines == [{"event": "train", **expected}]
    assert (state.losses, state.rows, state.logged_seconds) == ([], [], 3.0)


@pytest.mark.parametrize("norm", [None, torch.tensor(float("inf")), torch.tensor(float("nan"))])
def test_log_line_has_no_norm_that_is_unknown_or_not_finite(norm: torch.Tensor | None) -> None:
    parts = Parts()
    parts.state.step, parts.state.losses, parts.state.rows, parts.state.seconds = 4, [1.0], [1], 1.0
    parts.logger.log_if_due(1, 0.5, norm)
    assert [list(line) for line in parts.lines] == [["event", "epoch", "step", "rate", "loss", "rows_per_second"]]


def test_log_line_is_written_only_when_it_is_due() -> None:
    parts = Parts()
    parts.state.step, parts.state.losses, parts.state.rows, parts.state.seconds = 5, [1.0], [1], 1.0
    assert parts.logger.log_if_due(0, 0.5, None) is None
    assert parts.lines == []
    assert parts.state.losses == [1.0]


def test_evaluation_is_due_at_its_interval_and_at_the_end() -> None:
    evaluated: list[int] = []

    def evaluate(step: int) -> bool:
        evaluated.append(step)
        return step == 6

    parts = Parts(evaluate)
    parts.run()
    assert evaluated == [3, 6, 9, 10]
    assert parts.saved_best == [6]
    assert (parts.state.best_step, parts.state.evaluated_step) == (6, 10)
    assert parts.state.evals_without_improvement == 2


def test_no_step_is_evaluated_twice() -> None:
    parts = Parts()
    parts.state.step = 3
    assert parts.evaluator.is_due()
    assert parts.evaluator.evaluate_if_due()
    assert not parts.evaluator.is_due()
    assert not parts.evaluator.evaluate_if_due()
    assert parts.saved_best == [3]


def test_last_model_is_the_best_without_validation_rows() -> None:
    parts = Parts(evaluate=None)
    parts.run()
    assert parts.saved_best == [10]
    assert (parts.state.best_step, parts.state.evaluated_step) == (10, 10)


def test_model_returns_to_training_mode_and_the_clock_is_restarted() -> None:
    parts = Parts()

    def evaluate(step: int) -> bool:
        parts.model.eval()
        return False

    parts.evaluator.evaluate = evaluate
    parts.model.train()
    parts.state.step = 3
    assert not parts.evaluator.evaluate_if_due()
    assert parts.model.training
    assert parts.sync.calls == ["restart_clock"]


def test_stop_signal_postpones_the_evaluation_and_forces_a_checkpoint() -> None:
    parts = Parts()
    parts.state.step, parts.sync.stop_signal = 3, SIGTERM
    assert not parts.evaluator.is_due()
    improved = parts.evaluator.evaluate_if_due()
    parts.checkpointer.save_if_due(improved)
    assert parts.saved_best == []
    assert parts.state.evaluated_step == 0
    assert parts.checkpoints == [3]
    resumed = Parts(step=3)
    assert resumed.evaluator.is_due(), "it is made up for when the run resumes"


def test_stop_signal_during_an_evaluation_abandons_it() -> None:
    parts = Parts()

    def evaluate(step: int) -> bool:
        parts.model.eval()
        raise Interrupted(SIGINT)

    parts.evaluator.evaluate = evaluate
    parts.state.step, parts.state.evals_without_improvement = 3, 1
    assert not parts.evaluator.evaluate_if_due()
    assert parts.sync.stop_signal == SIGINT
    assert (parts.state.evaluated_step, parts.state.best_step, parts.state.evals_without_improvement) == (0, 0, 1)
    assert parts.saved_best == []
    assert parts.model.training
    parts.checkpointer.save_if_due(improved=False)
    assert parts.checkpoints == [3]


@pytest.mark.parametrize(
    ("patience", "results", "stopped_after"),
    [
        (1, [True, False], 2),
        (2, [False, True, False, False], 4),
        (3, [True, False, False], None),
        (None, [False], None),
    ],
)
def test_early_stopping_after_evaluations_without_improvement(
    patience: int | None, results: list[bool], stopped_after: int | None
) -> None:
    state = TrainState(1.0)
    early_stopping = EarlyStopping(state, patience)
    stopped = []
    for improved in results:
        early_stopping.update(improved)
        stopped.append(state.stopped_early)
    assert stopped == [number == stopped_after for number in range(1, len(results) + 1)]


def test_patience_ends_a_run_with_a_checkpoint() -> None:
    parts = Parts(lambda step: step == 3, patience=2)
    parts.run()
    assert parts.state.step == 9
    assert parts.checkpoints == [3, 5, 9]


def test_checkpoint_is_due_at_its_interval_after_an_improvement_and_at_the_end() -> None:
    parts = Parts(lambda step: step == 6)
    parts.run()
    assert parts.checkpoints == [5, 6, 10]
    assert parts.sync.calls.count("read_losses") == parts.sync.calls.count("checkpoint_saved") == 3


@pytest.mark.parametrize(
    ("step", "improved", "stop_signal", "timer_is_due", "expected"),
    [
        (4, False, 0, False, False),
        (4, True, 0, False, True),
        (4, False, SIGTERM, False, True),
        (4, False, 0, True, True),
        (5, False, 0, False, True),
        (10, False, 0, False, True),
        (2, True, SIGTERM, True, False),  # the step that the run has resumed from is saved
    ],
)
def test_checkpoint_table(step: int, improved: bool, stop_signal: int, timer_is_due: bool, expected: bool) -> None:
    parts = Parts(step=2)
    parts.state.step, parts.sync.stop_signal, parts.sync.checkpoint_due = step, stop_signal, timer_is_due
    assert parts.checkpointer.is_due(improved) == expected
    parts.checkpointer.save_if_due(improved)
    assert parts.checkpoints == ([step] if expected else [])
    assert parts.sync.calls == (["read_losses", "checkpoint_saved"] if expected else [])
    assert not parts.checkpointer.is_due(improved), "a step is saved once"
