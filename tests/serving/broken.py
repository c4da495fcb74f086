"""Broken models, planted in a server before it starts."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from accel_clf.config.serve_schema import ServeConfig
from accel_clf.inference.predictor import Predictor
from accel_clf.serving import service, supervisor
from accel_clf.serving.worker import load_predictor

LONG, LONG_LENGTH = "film " * 50, 50  # a text that the model cannot bear, by its number of tokens

LogitsBatch = Callable[[Sequence[np.ndarray]], np.ndarray]


def slow(logits_batch: LogitsBatch, rows: Sequence[np.ndarray]) -> np.ndarray:
    """Take 0.2 s per batch, whatever its size."""
    time.sleep(0.2)
    return logits_batch(rows)


def nan(logits_batch: LogitsBatch, rows: Sequence[np.ndarray]) -> np.ndarray:
    """Return NaN of texts of many words."""
    logits = logits_batch(rows)
    logits[[len(row) > LONG_LENGTH for row in rows]] = np.nan
    return logits


def deadly(logits_batch: LogitsBatch, rows: Sequence[np.ndarray]) -> np.ndarray:
    """Take 0.2 s per batch, and be killed by texts of many words."""
    time.sleep(0.2)
    if any(len(row) > LONG_LENGTH for row in rows):
        os.kill(os.getpid(), signal.SIGKILL)
    return logits_batch(rows)


def load_broken(name: str, run: Path, settings: ServeConfig) -> Predictor:
    """Load a predictor, in the model process, and break it."""
    predictor = load_predictor(run, settings)
    predictor.logits_batch = partial(globals()[name], predictor.logits_batch)  # type: ignore[method-assign]
    return predictor


def plant(name: str) -> None:
    """Make the service load a model that one of the functions above breaks."""
    service.load_predictor = partial(load_broken, name)


def plant_restarts(count: int) -> None:
    """Let the model's process be replaced so many times only."""
    supervisor.MAX_RESTARTS = count
