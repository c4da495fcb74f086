"""THE training loop: fit() is the schedule, train_step() the arithmetic."""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from math import ceil
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from accel_clf.config import Config
from accel_clf.console import bar
from accel_clf.data import order
from accel_clf.data.layouts import IGNORED, GlobalBatches, collate
from accel_clf.data.tokens import Tokens
from accel_clf.errors import UserError
from accel_clf.optim import peak_rate, rate, set_rate
from accel_clf.strategies.base import Strategy

LOG_EVERY = 10


@dataclass(frozen=True)
class TrainingRows:
    """What is learned from.

    Attributes:
        tokens: of each row.
        labels: int [rows].
        layout: "padded" or "bucketed".
        pad_id: the tokenizer's padding token.
    """

    tokens: Tokens
    labels: np.ndarray
    layout: str
    pad_id: int


@dataclass
class Outcome:
    """How training went.

    Attributes:
        steps: optimizer steps made.
        best_step: after which the best model was kept; the last where nothing was measured.
        seconds: of training, without evaluation and saving.
        stopped_early: whether patience ran out.
    """

    steps: int = 0
    best_step: int = 0
    seconds: float = 0.0
    stopped_early: bool = False


def fit(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    rows: TrainingRows,
    config: Config,
    strategy: Strategy,
    *,
    measure: Callable[[int], bool] | None,
    keep: Callable[[], None],
    record: Callable[[dict[str, Any]], None],
    log_every: int = LOG_EVERY,
    shown: bool = True,
) -> Outcome:
    """Train, and keep the best model.

    Args:
        model, optimizer: as `strategy` prepared them.
        rows: what to learn from.
        config: the run's settings.
        strategy: the hardware.
        measure: whether the model after so many steps is the best so far (the first process's answer counts); None
            without validation rows.
        keep: saves the model as it is.
        record: receives a line of the log.
        log_every: steps a line; reading a loss makes the host wait for the device.
        shown: whether to show progress.
    """
    training, together = config.training, config.batch.size * strategy.processes
    rows_per_step = together * config.batch.accumulate
    steps_per_epoch = order.count_steps(len(rows.labels), rows_per_step)
    total = training.epochs * steps_per_epoch
    peak = peak_rate(training, strategy.processes)
    every = steps_per_epoch if config.evaluation.every == "epoch" else config.evaluation.every
    outcome = Outcome()
    window = _Window(strategy, log_every)
    fruitless = 0

    tensors = collate(rows.tokens, rows.labels, rows.pad_id)
    model.train()
    with bar("training", total, shown and strategy.is_main) as progress:
        for epoch in range(training.epochs):
            batches = iter(strategy.batches(epoch_batches(rows, config, strategy.processes, epoch), tensors))
            for step_rows in order.steps(order.permutation(len(rows.labels), training.seed, epoch), rows_per_step):
                strategy.seed(order.step_seed(training.seed, outcome.steps, strategy.process))
                step_rate = rate(outcome.steps, total, peak, training.warmup, training.schedule)
                set_rate(optimizer, step_rate)
                count = ceil(len(step_rows) / together)
                loss, norm = train_step(
                    model, optimizer, islice(batches, count), count, len(step_rows), strategy, training.max_grad_norm
                )
                outcome.steps += 1
                window.add(loss, norm, len(step_rows))
                progress.advance()
                due = outcome.steps % every == 0 or outcome.steps == total
                if due or outcome.steps % log_every == 0:
                    line = window.read(outcome.steps)
                    outcome.seconds += line.pop("seconds")
                    record({"event": "train", "epoch": epoch + 1, "step": outcome.steps, "rate": step_rate, **line})
                    progress.advance(0, note=f"loss {line['loss']:.4f}  {line['rows_per_second']:.0f} rows/s")
                if measure and due:
                    fruitless += 1
                    if strategy.main_says(measure(outcome.steps)):
                        outcome.best_step, fruitless = outcome.steps, 0
                        keep()
                    if config.evaluation.patience and fruitless >= config.evaluation.patience:
                        outcome.stopped_early = True
                        return outcome
                    model.train()
                    window.restart()  # an evaluation's time is not training's
    if not measure:
        outcome.best_step = outcome.steps
        keep()
    return outcome


def train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Iterable[dict[str, torch.Tensor]],
    count: int,
    rows: int,
    strategy: Strategy,
    max_norm: float | None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """One optimizer step: the gradient of the mean loss over the step's rows on all processes.

    Args:
        model: in training mode.
        batches: this process's share of the step's micro-batches, with input_ids and attention_mask int64 [B, T] and
            labels int64 [B].
        count: how many micro-batches there are.
        rows: how many rows the step has on all processes, fillers not counted.
        max_norm: see Strategy.step.

    Returns:
        This process's part of the summed loss, a scalar on the device, and the gradient's norm, where it is known.
    """
    total: torch.Tensor | float = 0.0
    for number, batch in enumerate(batches, start=1):
        with strategy.micro_batch(model, last=number == count):
            logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
            # A sum, divided by the rows of the whole step, so that neither a ragged last batch nor an uneven share
            # weighs more than its rows (as pytorch/torchtitan does).
            loss = cross_entropy(logits.float(), batch["labels"], ignore_index=IGNORED, reduction="sum")
            strategy.backward(loss, rows)
            total = loss.detach() + total  # here, where a compiler sees it as a part of the batch's program
    assert isinstance(total, torch.Tensor), "a step has a batch"
    return total, strategy.step(optimizer, max_norm)


def epoch_batches(rows: TrainingRows, config: Config, processes: int, epoch: int) -> GlobalBatches:
    """An epoch's micro-batches, one step's after another's."""
    epoch_order = order.permutation(len(rows.labels), config.training.seed, epoch)
    together = config.batch.size * processes
    return GlobalBatches(order.batches(epoch_order, together), rows.tokens.lengths, rows.layout, config.data.max_length)


class _Window:
    """Losses since the last line of the log, left on the device until it is due."""

    def __init__(self, strategy: Strategy, most: int) -> None:
        self.strategy, self.most = strategy, most
        self.restart()

    def restart(self) -> None:
        self.losses: list[torch.Tensor] = []
        self.rows: list[int] = []
        self.norm: torch.Tensor | None = None
        self.began = time.perf_counter()

    def add(self, loss: torch.Tensor, norm: torch.Tensor | None, rows: int) -> None:
        self.losses.append(loss)
        self.norm = norm
        self.rows.append(rows)

    def read(self, step: int) -> dict[str, float]:
        """Mean loss, the last gradient norm where it is a number, seconds and rows a second; then start anew.

        Raises:
            UserError: the loss is not a number.
        """
        mine = torch.zeros(self.most)  # of one shape however many there are, for compilers
        mine[: len(self.losses)] = torch.stack([loss.cpu() for loss in self.losses])
        losses = self.strategy.sum(mine)[: len(self.losses)] / torch.tensor(self.rows)
        if not losses.isfinite().all():
            first = int((~losses.isfinite()).nonzero()[0])
            raise UserError(
                f"the loss is {float(losses[first])} at step {step - len(losses) + 1 + first}",
                "a number",
                "lower --training.learning_rate, or --training.precision fp32; the best model so far is kept",
            )
        seconds = time.perf_counter() - self.began
        line = {"loss": float(losses.mean()), "rows_per_second": sum(self.rows) / seconds, "seconds": seconds}
        # fp16's scaler finds its scale by steps that overflow and are left out: their norm is infinite.
        if self.norm is not None and math.isfinite(norm := float(self.norm)):
            line["grad_norm"] = norm
        self.restart()
        return line
