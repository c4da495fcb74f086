"""Periodic all-reduce of buffered losses, stop signals and the checkpoint timer."""

import math
import time
from signal import SIGINT, SIGTERM

import numpy as np
import torch

from accel_clf.core import signals
from accel_clf.core.errors import Interrupted, UserError
from accel_clf.data.sampling import PADDING_ROW
from accel_clf.strategies.base import Strategy
from accel_clf.training.batches import Step
from accel_clf.training.state import TrainState

SECONDS_BETWEEN_SYNCS = 2.0  # of several processes, where a step does not take longer
EXTRA_NUMBERS = 4  # reduced with the losses: two signals, whether a checkpoint is due, seconds
MAX_IDS_IN_MESSAGE = 64


class StepSync:
    """What processes tell each other between steps: losses, which stay on the device until then, signals, the time.

    Args:
        strategy: the hardware.
        state: the run's; its losses, rows and seconds are kept here.
        ids: int64 [rows], for messages.
        max_steps: between two syncs.
        checkpoint_minutes: between two checkpoints.

    Attributes:
        stop_signal: sent to one of the processes; 0 for none.
        checkpoint_due: whether the last checkpoint is too old, by rank 0's clock.
    """

    def __init__(
        self, strategy: Strategy, state: TrainState, ids: np.ndarray, max_steps: int, checkpoint_minutes: float
    ) -> None:
        self.strategy, self.state, self.ids = strategy, state, ids
        self.max_steps, self.checkpoint_minutes = max_steps, checkpoint_minutes
        self.stop_signal = 0
        self._steps_between_syncs = 1
        self._losses: list[torch.Tensor] = []
        self._steps: list[Step] = []
        self.checkpoint_saved()

    def checkpoint_saved(self) -> None:
        """Start the checkpoint timer again."""
        self._saved_at, self.checkpoint_due = time.perf_counter(), False
        self.restart_clock()

    def restart_clock(self) -> None:
        """Leave the time since the last sync out of the training time."""
        self._clock = time.perf_counter()

    def after_step(self, loss: torch.Tensor, step: Step, read: bool) -> None:
        """Take a step's loss; sync when it is time to, and whenever the losses are to be read.

        A single process looks for signals after every step, which costs nothing. Several do every few steps.
        """
        self._losses.append(loss)
        self._steps.append(step)
        is_single = self.strategy.processes == 1
        if is_single:
            self.stop_signal, self.checkpoint_due = signals.stop_signal(), self._is_checkpoint_due()
        if read or (not is_single and self.state.step % self._steps_between_syncs == 0):
            self.read_losses()

    def read_losses(self) -> None:
        """Read the losses since the last sync, on all processes.

        Raises:
            UserError: one is NaN or infinite.
        """
        if not self._losses:
            return
        seconds = time.perf_counter() - self._clock
        signal = signals.stop_signal()
        local = torch.zeros(self.max_steps + EXTRA_NUMBERS)  # of one shape however many there are, for compilers
        local[: len(self._losses)] = torch.stack([loss.cpu() for loss in self._losses])
        local[self.max_steps :] = torch.tensor(
            [signal == SIGTERM, signal == SIGINT, self._is_checkpoint_due(), seconds]
        )
        *losses, terminate, interrupt, checkpoint_due, total_seconds = self.strategy.sum(local).tolist()
        first = self.state.step - len(self._steps) + 1
        for index, step in enumerate(self._steps):
            if not math.isfinite(losses[index]):
                raise self._not_finite(losses[index], first + index, step)
        self.stop_signal = SIGTERM if terminate else SIGINT if interrupt else 0
        self.checkpoint_due = bool(checkpoint_due)
        seconds_per_step = total_seconds / self.strategy.processes / len(self._steps)
        self._steps_between_syncs = max(1, min(self.max_steps, int(SECONDS_BETWEEN_SYNCS / seconds_per_step)))
        self.state.losses += losses[: len(self._steps)]
        self.state.rows += [step.rows for step in self._steps]
        self.state.seconds += seconds
        self._losses, self._steps = [], []
        self.restart_clock()

    def raise_if_stopped(self) -> None:
        """Raise Interrupted where a signal has asked to stop."""
        if self.stop_signal:
            raise Interrupted(self.stop_signal)

    def _is_checkpoint_due(self) -> bool:
        return self.strategy.is_main and time.perf_counter() - self._saved_at > 60 * self.checkpoint_minutes

    def _not_finite(self, loss: float, number: int, step: Step) -> UserError:
        ids = sorted(self.ids[step.slots[step.slots != PADDING_ROW]])
        listed = ", ".join(map(str, ids[:MAX_IDS_IN_MESSAGE])) + (", ..." if len(ids) > MAX_IDS_IN_MESSAGE else "")
        return UserError(
            f"the loss is {loss} at step {number}, of these rows of the training data (from 0): {listed}",
            "a finite number",
            "look at these rows, lower --training.learning_rate, or take --training.precision fp32; "
            "the last checkpoint and the best model are as they were",
        )
