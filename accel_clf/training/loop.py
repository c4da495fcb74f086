"""THE training loop: fit() is the schedule, train_step() the arithmetic."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from signal import SIGINT, SIGTERM
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from accel_clf.config.schema import Config
from accel_clf.core import signals
from accel_clf.core.console import bar
from accel_clf.core.errors import Interrupted, UserError
from accel_clf.data import sampling
from accel_clf.data.collate import IGNORED, Batch, GlobalBatches, collate, inputs
from accel_clf.data.sampling import FILLER
from accel_clf.data.tokenization import Tokens
from accel_clf.strategies.base import Strategy
from accel_clf.training.optim import rate, set_rate

LOG_EVERY = 10
SECONDS_BETWEEN_MEETINGS = 2.0  # of several processes, where a step does not take longer
BESIDE_LOSSES = 4  # numbers that go with them: two signals, whether it is late, seconds
IDS_SHOWN = 64


@dataclass(frozen=True)
class TrainingRows:
    """What is learned from.

    Attributes:
        tokens: of each row.
        labels: int [rows].
        ids: int64 [rows], each row's place in its source, for messages.
        layout: "padded", "bucketed" or "packed".
        pad_id: the tokenizer's padding token.
    """

    tokens: Tokens
    labels: np.ndarray
    ids: np.ndarray
    layout: str
    pad_id: int


@dataclass
class Progress:
    """How far training has come: all that the next step depends on, beside weights, moments and settings.

    Attributes:
        peak: the learning rate after the warm-up.
        step: optimizer steps made.
        measured: the step after which the model was measured last.
        best_step: the step after which the best model was kept; the last where nothing is measured; 0 for none yet.
        fruitless: evaluations since the best one.
        stopped_early: whether patience ran out.
        seconds: of training, without evaluation and saving.
        logged_seconds: how many of them the log knows of.
        losses, rows: of each step since the last line of the log, summed over its rows, and how many these are.
    """

    peak: float
    step: int = 0
    measured: int = 0
    best_step: int = 0
    fruitless: int = 0
    stopped_early: bool = False
    seconds: float = 0.0
    logged_seconds: float = 0.0
    losses: list[float] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)


def fit(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    rows: TrainingRows,
    config: Config,
    strategy: Strategy,
    *,
    progress: Progress,
    measure: Callable[[int], bool] | None,
    keep: Callable[[], None],
    save: Callable[[], None],
    record: Callable[[dict[str, Any]], None],
    log_every: int = LOG_EVERY,
    shown: bool = True,
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
        shown: whether to show progress.

    Raises:
        Interrupted: a signal has asked for it, and `save` was called.
        UserError: the loss is not a number.
    """
    training, at = config.training, progress
    steps_per_epoch = sampling.count_steps(len(rows.labels), config.batch.rows_per_step(strategy.processes))
    total = training.epochs * steps_per_epoch
    every = steps_per_epoch if config.evaluation.every == "epoch" else config.evaluation.every
    meeting = _Meeting(strategy, at, rows.ids, log_every, config.checkpoint.minutes)
    steps = _steps(rows, config, strategy, at.step, steps_per_epoch)
    saved = at.step

    model.train()
    with bar("training", total, shown and strategy.is_main) as progress_bar:
        progress_bar.advance(at.step)
        while True:
            better, asked = False, meeting.signal
            if not asked and at.measured < at.step and (at.step == total or (measure and at.step % every == 0)):
                try:
                    better = strategy.main_says(measure(at.step)) if measure else True
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
            step_rate = rate(at.step, total, at.peak, training.warmup, training.schedule)
            set_rate(optimizer, step_rate)
            loss, norm = train_step(
                model, optimizer, step.share, len(step.places), step.rows, strategy, training.max_grad_norm
            )
            at.step += 1
            progress_bar.advance()
            logs = at.step % log_every == 0 or at.step % every == 0 or at.step == total
            meeting.after(loss, step, read=logs)
            if logs:
                line = {"epoch": step.epoch + 1, "step": at.step, "rate": step_rate, **_summary(at)}
                # fp16's scaler finds its scale by steps that overflow and are left out: their norm is infinite.
                if norm is not None and math.isfinite(norm_now := float(norm)):
                    line["grad_norm"] = norm_now
                record({"event": "train", **line})
                progress_bar.advance(0, note=f"loss {line['loss']:.4f}  {line['rows_per_second']:.0f} rows/s")


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
            logits = model(**inputs(batch)).logits
            # A sum, divided by the rows of the whole step, so that neither a ragged last batch nor an uneven share
            # weighs more than its rows (as pytorch/torchtitan does).
            loss = cross_entropy(logits.float(), batch["labels"], ignore_index=IGNORED, reduction="sum")
            strategy.backward(loss, rows)
            total = loss.detach() + total  # here, where a compiler sees it as a part of the batch's program
    assert isinstance(total, torch.Tensor), "a step has a batch"
    return total, strategy.step(optimizer, max_norm)


def epoch_batches(rows: TrainingRows, config: Config, processes: int, epoch: int, done: int = 0) -> GlobalBatches:
    """An epoch's micro-batches, one step's after another's, without the first `done`."""
    epoch_order = sampling.permutation(len(rows.labels), config.training.seed, epoch)
    if config.batch.order == "length":
        together = config.batch.rows_per_step(processes)
        epoch_order = sampling.by_length(epoch_order, rows.tokens.lengths, together, config.training.seed, epoch)
    batches = sampling.batches(epoch_order, config.batch.size * processes)[done:]
    return GlobalBatches(batches, rows.tokens.lengths, rows.layout, config.data.max_length)


class _Step(NamedTuple):
    """What an optimizer step is made from.

    Attributes:
        epoch: from 0.
        places: int64 [micro-batches, places], the rows of all processes, with fillers.
        rows: how many these are without fillers.
        share: this process's part of each.
    """

    epoch: int
    places: np.ndarray
    rows: int
    share: Iterable[Batch]


def _steps(rows: TrainingRows, config: Config, strategy: Strategy, first: int, steps_per_epoch: int) -> Iterator[_Step]:
    """The steps from `first` on, which may lie in the middle of an epoch: what was before is not read again."""
    accumulate = config.batch.accumulate
    tensors = collate(rows.tokens, rows.labels, rows.pad_id, rows.layout)
    for epoch in range(first // steps_per_epoch, config.training.epochs):
        done = max(0, first - epoch * steps_per_epoch) * accumulate
        batches = epoch_batches(rows, config, strategy.processes, epoch, done)
        share = iter(strategy.batches(batches, tensors))
        starts = range(0, len(batches), accumulate)
        counts = np.add.reduceat((batches.rows != FILLER).sum(axis=1), starts).tolist()  # at once: fast
        for start, rows_of_step in zip(starts, counts, strict=True):
            places = batches.rows[start : start + accumulate]
            yield _Step(epoch, places, rows_of_step, islice(share, len(places)))


def _summary(at: Progress) -> dict[str, Any]:
    """What a line of the log says of the steps since the last one."""
    means = [loss / rows for loss, rows in zip(at.losses, at.rows, strict=True)]
    line = {
        "loss": math.fsum(means) / len(means),
        "rows_per_second": sum(at.rows) / (at.seconds - at.logged_seconds),
    }
    at.losses, at.rows, at.logged_seconds = [], [], at.seconds
    return line


class _Meeting:
    """Where processes hear of each other: of losses, which stay on the device until then, of signals, and of the time.

    Attributes:
        signal: what one of them was sent; 0 for none.
        late: whether the last save was too long ago, by the first process's clock.
    """

    def __init__(self, strategy: Strategy, at: Progress, ids: np.ndarray, most: int, save_minutes: float) -> None:
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
            self.signal, self.late = signals.asked(), self._is_late()
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
        asked = signals.asked()
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
        ids = sorted(self.ids[step.places[step.places != FILLER]])
        shown = ", ".join(map(str, ids[:IDS_SHOWN])) + (", ..." if len(ids) > IDS_SHOWN else "")
        return UserError(
            f"the loss is {loss} at step {number}, of these rows of the training data (from 0): {shown}",
            "a number",
            "look at these rows, lower --training.learning_rate, or take --training.precision fp32; "
            "the last checkpoint and the best model are as they were",
        )
