"""How far a run has come."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

# Their keys in a checkpoint's state.json, where they differ from the attributes.
_KEYS = {"peak_lr": "peak", "evaluated_step": "measured", "evals_without_improvement": "fruitless"}


@dataclass
class TrainState:
    """All that the next step depends on, beside weights, optimizer state and settings.

    Attributes:
        peak_lr: the learning rate after the warm-up.
        step: optimizer steps taken.
        evaluated_step: the step after which the model was last evaluated.
        best_step: the step after which the best model was saved; the last where nothing is evaluated; 0 for none yet.
        evals_without_improvement: evaluations since the best one.
        stopped_early: whether patience has run out.
        seconds: of training, without evaluation and saving.
        logged_seconds: how many of them the log accounts for.
        losses, rows: of each step since the last line of the log: the loss summed over its rows, and their number.
    """

    peak_lr: float
    step: int = 0
    evaluated_step: int = 0
    best_step: int = 0
    evals_without_improvement: int = 0
    stopped_early: bool = False
    seconds: float = 0.0
    logged_seconds: float = 0.0
    losses: list[float] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)

    def is_finished(self, total_steps: int) -> bool:
        """Whether no step is left."""
        return self.step == total_steps or self.stopped_early

    def to_json(self) -> dict[str, Any]:
        """Return what a checkpoint's state.json holds: a copy, which a thread may write while training continues."""
        return {_KEYS.get(name, name): value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "TrainState":
        """Read what `to_json` has written; nothing is shared with `content`."""
        attributes = {key: name for name, key in _KEYS.items()}
        state = cls(**{attributes.get(key, key): value for key, value in content.items()})
        state.losses, state.rows = list(state.losses), list(state.rows)
        return state
