"""Parity's worker, with one fault put in."""

import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from accel_clf.core.command import run_command
from accel_clf.data import sampling
from accel_clf.strategies import launch
from accel_clf.training import parity


def skip_the_reduction() -> None:
    import torch_xla.core.xla_model as xm

    xm.reduce_gradients = lambda optimizer: None


def scale_the_rate() -> None:
    from accel_clf.training import loop

    right = loop.lr_at
    loop.lr_at = lambda *arguments: 1.1 * right(*arguments)


def drop_the_tail() -> None:
    """Of an epoch's last batch, which is not full, only the first row is left."""
    right = sampling.global_batches

    def batches(rows: np.ndarray, size: int) -> np.ndarray:
        made = right(rows, size)
        made[len(rows) // size :, 1:] = sampling.PADDING_ROW
        return made

    sampling.global_batches = batches


def feed_a_core_the_wrong_shard() -> None:
    """Core 1 gets what core 0 gets."""
    from accel_clf.strategies.xla import torch_xla

    right = torch_xla.DistributedSampler

    def sampler(*arguments: Any, rank: int, **options: Any) -> Any:
        return right(*arguments, rank=0 if rank == 1 else rank, **options)

    torch_xla.DistributedSampler = sampler


def fail_on_one_core() -> None:
    from accel_clf.strategies.xla.base import XlaStrategyBase

    right = XlaStrategyBase.step

    def step(self: XlaStrategyBase, *arguments: Any) -> Any:
        if self.process == 1 and self.steps == 1:
            raise ValueError("planted on one core")
        return right(self, *arguments)

    XlaStrategyBase.step = step  # type: ignore[method-assign]


def kill_the_cores() -> None:
    import signal

    from accel_clf.strategies.xla.base import XlaStrategyBase

    right = XlaStrategyBase.step

    def step(self: XlaStrategyBase, *arguments: Any) -> Any:
        if self.process == 1 and self.steps == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return right(self, *arguments)

    XlaStrategyBase.step = step  # type: ignore[method-assign]


def worker(fault: str, settings: dict[str, Any], path: Path) -> int:
    choose = launch.choose

    def choose_and_break(config: Any) -> Any:
        # Cores and environment first, as always; what is broken then is forked with the rest.
        hardware = choose(config)
        globals()[fault]()
        return hardware

    launch.choose = choose_and_break
    return run_command(partial(parity.worker, settings, path))
