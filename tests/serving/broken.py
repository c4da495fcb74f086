"""Bad models for a server, planted before it starts."""

import time
from collections.abc import Sequence

import numpy as np

from accel_clf.serving.predictor import Predictor

right = Predictor.answer


def slow(self: Predictor, rows: Sequence[np.ndarray]) -> np.ndarray:
    """A batch takes 0.2 s, whatever is in it."""
    time.sleep(0.2)
    return right(self, rows)


def no_number(self: Predictor, rows: Sequence[np.ndarray]) -> np.ndarray:
    return np.full_like(right(self, rows), np.nan)


def dying(self: Predictor, rows: Sequence[np.ndarray]) -> np.ndarray:
    """Fails at the third text; the first is the server's own."""
    dying.calls = getattr(dying, "calls", 0) + 1  # type: ignore[attr-defined]
    if dying.calls == 3:  # type: ignore[attr-defined]
        raise RuntimeError("planted in the model")
    return right(self, rows)


def plant(name: str) -> None:
    Predictor.answer = globals()[name]  # type: ignore[method-assign]
