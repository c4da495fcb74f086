"""Parity's worker with a planted fault."""

import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from accel_clf.core.command import run_command
from accel_clf.data import sampling
from accel_clf.strategies import launch
from accel_clf.training import parity


def skip_reduction() -> None:
    import torch_xla.core.xla_model as xm

    xm.reduce_gradients = lambda optimizer: None


def scale_learning_rate() -> None:
    from accel_clf.training import loop

    lr_at = loop.lr_at
    loop.lr_at = lambda *args: 1.1 * lr_at(*args)


def drop_last_rows() -> None:
    """Leave only the first row of an epoch's last batch, which is not full."""
    global_batches = sampling.global_batches

    def shortened_batches(rows: np.ndarray, size: int) -> np.ndarray:
        batches = global_batches(rows, size)
        batches[len(rows) // size :, 1:] = sampling.PADDING_ROW
        return batches

    sampling.global_batches = shortened_batches


def give_core_1_the_shard_of_core_0() -> None:
    from accel_clf.strategies.xla import torch_xla

    sampler_class = torch_xla.DistributedSampler

    def make_sampler(*args: Any, rank: int, **options: Any) -> Any:
        return sampler_class(*args, rank=0 if rank == 1 else rank, **options)

    torch_xla.DistributedSampler = make_sampler


def fail_on_one_core() -> None:
    from accel_clf.strategies.xla.base import XlaStrategyBase

    step = XlaStrategyBase.step

    def failing_step(self: XlaStrategyBase, *args: Any) -> Any:
        if self.process == 1 and self.steps == 1:
            raise ValueError("planted on one core")
        return step(self, *args)

    XlaStrategyBase.step = failing_step  # type: ignore[method-assign]


def kill_cores() -> None:
    import signal

    from accel_clf.strategies.xla.base import XlaStrategyBase

    step = XlaStrategyBase.step

    def step_or_kill(self: XlaStrategyBase, *args: Any) -> Any:
        if self.process == 1 and self.steps == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(self, *args)

    XlaStrategyBase.step = step_or_kill  # type: ignore[method-assign]


def forbid_changes_of_the_environment() -> None:
    """End a process whose cores change a variable: others may be reading them in native code, which would crash.

    Where one core works and all others wait, it is allowed.
    """
    import sys
    import threading

    from accel_clf.strategies.xla.spawn import core_lock

    def end_at_change(event: str, args: tuple[object, ...]) -> None:
        if event not in ("os.putenv", "os.unsetenv") or core_lock.locked():
            return
        if threading.current_thread() is not threading.main_thread():
            print(f"a core has changed {args[0]!r} of the environment", file=sys.stderr, flush=True)
            os._exit(1)

    sys.addaudithook(end_at_change)


def worker(fault: str, settings: dict[str, Any], path: Path) -> int:
    """Run parity's worker after one of the functions above."""
    choose = launch.choose

    def choose_and_break(config: Any) -> Any:
        # Cores and environment first, as always; the fault is then forked with the rest.
        run_on_hardware = choose(config)
        globals()[fault]()
        return run_on_hardware

    launch.choose = choose_and_break
    return run_command(partial(parity.worker, settings, path))
