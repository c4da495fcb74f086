"""Bad models for a server, planted before it starts."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from accel_clf.config.schema import ServeConfig
from accel_clf.inference.predictor import Predictor
from accel_clf.serving import service
from accel_clf.serving.worker import load

Answer = Callable[[Sequence[np.ndarray]], np.ndarray]


def slow(right: Answer, rows: Sequence[np.ndarray]) -> np.ndarray:
    """A batch takes 0.2 s, whatever is in it."""
    time.sleep(0.2)
    return right(rows)


def no_number(right: Answer, rows: Sequence[np.ndarray]) -> np.ndarray:
    return np.full_like(right(rows), np.nan)


def dying(right: Answer, rows: Sequence[np.ndarray]) -> np.ndarray:
    """Fails at the second text."""
    dying.calls = getattr(dying, "calls", 0) + 1  # type: ignore[attr-defined]
    if dying.calls == 2:  # type: ignore[attr-defined]
        raise RuntimeError("planted in the model")
    return right(rows)


def load_bad(name: str, run: Path, settings: ServeConfig) -> Predictor:
    """What the model's process loads."""
    predictor = load(run, settings)
    predictor.logits_batch = partial(globals()[name], predictor.logits_batch)  # type: ignore[method-assign]
    return predictor


def plant(name: str) -> None:
    service.load = partial(load_bad, name)
