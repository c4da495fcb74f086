"""How far a run has come."""

from dataclasses import dataclass, field


@dataclass
class TrainState:
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
