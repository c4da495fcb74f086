"""Graphs that XLA compiles: announced and counted."""

from typing import Any

import torch_xla.debug.metrics as met
import torch_xla.runtime as xr
from transformers import masking_utils

from accel_clf.strategies.base import CompiledGraph


def count_compilations() -> int:
    """Return how many graphs this process has compiled so far."""
    data: Any = met.metric_data("CompileTime")
    return int(data[0]) if data else 0


def count_reductions() -> int:
    """Return how many all-reduces in place, which reduce gradients, each core of this process has run."""
    return int(met.counter_value("xla::AllReduceInPlace") or 0) // int(xr.addressable_device_count())


class GraphTracker:
    """Graphs registered and compiled.

    XLA compiles a graph for each shape and each kind of step. How many there will be is known before the first step;
    one more means that something changes its shape: on a TPU that is minutes of compiling, again and again.

    Attributes:
        registered: that a run will need.
        seen: that have run.
        at_start: compilations before the run.
    """

    def __init__(self) -> None:
        self.registered: set[CompiledGraph] = set()
        self.seen: set[CompiledGraph] = set()
        self.at_start = self._compilations = count_compilations()

    def track(self, graph: CompiledGraph) -> str | None:
        """Note that a graph has run; return a warning if one too many was compiled for it."""
        compilations = count_compilations()
        new, self._compilations = compilations - self._compilations, compilations
        is_first = graph not in self.seen
        self.seen.add(graph)
        if new > is_first:
            return f"{new} graphs compiled for {graph}, {'not one' if is_first else 'which was compiled already'}"
        if new and self.registered and graph not in self.registered:
            return f"a graph compiled for {graph}, which was not announced"
        return None


def _never_skip_mask(*_: Any, **__: Any) -> bool:
    """Replace transformers' check whether a batch has any padding, so that its mask can be skipped.

    The device would have to answer before the host continues, in every step, and batches with and without padding would
    get different graphs.
    """
    return False


masking_utils._ignore_bidirectional_mask_sdpa = _never_skip_mask
