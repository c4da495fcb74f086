"""Graphs that XLA compiles: announced, counted, kept between runs."""

import os
from typing import Any

import torch_xla.debug.metrics as met
import torch_xla.runtime as xr
from transformers import masking_utils

from accel_clf.core.cache import cache_folder
from accel_clf.strategies.base import CompiledGraph


def keep_programs() -> None:
    """Keep compiled programs between runs, where the library can write them down. Before the first program."""
    if xr.device_type() == "TPU" and "XLA_PERSISTENT_CACHE_PATH" not in os.environ:
        folder = cache_folder() / "xla"
        folder.mkdir(parents=True, exist_ok=True)
        xr.initialize_cache(str(folder), readonly=False)


def compiled() -> int:
    """Programs that this process has compiled so far."""
    data: Any = met.metric_data("CompileTime")
    return int(data[0]) if data else 0


class GraphTracker:
    """Programs announced and compiled.

    XLA compiles a program for each shape and each kind of step. How many there will be is known before the first step;
    one more means that something changes its shape: on a TPU that is minutes of compiling, again and again.
    """

    def __init__(self) -> None:
        self.announced: set[CompiledGraph] = set()
        self.seen: set[CompiledGraph] = set()
        self.before = self.start = compiled()

    def ran(self, program: CompiledGraph) -> str | None:
        """To be called after each program; a warning, if it was one too many."""
        now = compiled()
        new, self.before = now - self.before, now
        fresh = program not in self.seen
        self.seen.add(program)
        if new > fresh:
            return f"{new} programs compiled for {program}, {'not one' if fresh else 'which was compiled already'}"
        if new and self.announced and program not in self.announced:
            return f"a program compiled for {program}, which was not announced"
        return None


def _reductions() -> int:
    """All-reduces in place, which is how gradients are reduced, of each core of this process."""
    return int(met.counter_value("xla::AllReduceInPlace") or 0) // int(xr.addressable_device_count())


def _keep_mask(*_: Any, **__: Any) -> bool:
    """Whether a mask can be left out: never, so that nobody has to look.

    transformers looks whether a batch has any padding. The device would have to answer before the host goes on, in
    every step, and batches with and without padding would get different programs.
    """
    return False


masking_utils._ignore_bidirectional_mask_sdpa = _keep_mask
