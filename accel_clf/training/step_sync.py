"""Periodic all-reduce of buffered losses, stop signals and the checkpoint timer."""

import math
import time
from signal import SIGINT, SIGTERM

import numpy as np
import torch

from accel_clf.core import signals
from accel_clf.core.errors import UserError
from accel_clf.data.sampling import PADDING_ROW
from accel_clf.strategies.base import Strategy
from accel_clf.training.batches import _Step
from accel_clf.training.state import TrainState

SECONDS_BETWEEN_MEETINGS = 2.0  # of several processes, where a step does not take longer


BESIDE_LOSSES = 4  # numbers that go with them: two signals, whether it is late, seconds


IDS_SHOWN = 64


class StepSync:
    """Where processes hear of each other: of losses, which stay on the device until then, of signals, and of the time.

    Attributes:
        signal: what one of them was sent; 0 for none.
        late: whether the last save was too long ago, by the first process's clock.
    """

    def __init__(self, strategy: Strategy, at: TrainState, ids: np.ndarray, most: int, save_minutes: float) -> None:
        self.strategy, self.at, self.ids, self.most, self.save_minutes = strategy, at, ids, most, save_minutes
        self.signal = 0
        self.pace = 1  # steps between meetings
        self.losses: list[torch.Tensor] = []
        self.steps: list[_Step] = []
        self.after_save()

    def after_save(self) -> None:
        self.saved, self.late = time.perf_counter(), False
        self.restart()

    def restart(self) -> None:
        """Leave out the time since the last meeting."""
        self.began = time.perf_counter()

    def after(self, loss: torch.Tensor, step: _Step, read: bool) -> None:
        """After a step, and with the losses where they are wanted.

        Left alone, a process looks at every step, which costs nothing. Several meet every `pace` steps.
        """
        self.losses.append(loss)
        self.steps.append(step)
        alone = self.strategy.processes == 1
        if alone:
            self.signal, self.late = signals.stop_signal(), self._is_late()
        if read or (not alone and self.at.step % self.pace == 0):
            self.read()

    def read(self) -> None:
        """Read the losses since the last meeting, on all processes.

        Raises:
            UserError: one is not a number.
        """
        if not self.losses:
            return
        seconds = time.perf_counter() - self.began
        asked = signals.stop_signal()
        mine = torch.zeros(self.most + BESIDE_LOSSES)  # of one shape however many there are, for compilers
        mine[: len(self.losses)] = torch.stack([loss.cpu() for loss in self.losses])
        mine[self.most :] = torch.tensor([asked == SIGTERM, asked == SIGINT, self._is_late(), seconds])
        *losses, terminate, interrupt, late, seconds_of_all = self.strategy.sum(mine).tolist()
        for number, step in enumerate(self.steps):
            if not math.isfinite(losses[number]):
                raise self._not_finite(losses[number], self.at.step - len(self.steps) + 1 + number, step)
        self.signal, self.late = SIGTERM if terminate else SIGINT if interrupt else 0, bool(late)
        seconds_a_step = seconds_of_all / self.strategy.processes / len(self.steps)
        self.pace = max(1, min(self.most, int(SECONDS_BETWEEN_MEETINGS / seconds_a_step)))
        self.at.losses += losses[: len(self.steps)]
        self.at.rows += [step.rows for step in self.steps]
        self.at.seconds += seconds
        self.losses, self.steps = [], []
        self.restart()

    def _is_late(self) -> bool:
        return self.strategy.is_main and time.perf_counter() - self.saved > 60 * self.save_minutes

    def _not_finite(self, loss: float, number: int, step: _Step) -> UserError:
        ids = sorted(self.ids[step.places[step.places != PADDING_ROW]])
        shown = ", ".join(map(str, ids[:IDS_SHOWN])) + (", ..." if len(ids) > IDS_SHOWN else "")
        return UserError(
            f"the loss is {loss} at step {number}, of these rows of the training data (from 0): {shown}",
            "a number",
            "look at these rows, lower --training.learning_rate, or take --training.precision fp32; "
            "the last checkpoint and the best model are as they were",
        )
