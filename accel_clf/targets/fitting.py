"""What is fitted to rows that were not learned from: a temperature, and thresholds; and what they do to other rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from accel_clf.targets.base import Target


@dataclass(frozen=True)
class Fitted:
    """What was fitted to all rows, and each row's scores and decision by what was fitted to the others.

    Attributes:
        target: with its thresholds.
        temperature: to divide logits by.
        scores: float64 [rows, scores], cross-fitted.
        decided: [rows, ...], cross-fitted.
        temperatures: of each part, what its scores are divided by: part -> temperature.
        errors: how far scores are from being probabilities: name -> "before" and, cross-fitted, "after".
    """

    target: Target
    temperature: float
    scores: np.ndarray
    decided: np.ndarray
    temperatures: dict[int, float]
    errors: dict[str, dict[str, float]]

    def to_json(self) -> dict[str, Any]:
        """Return what metrics.json holds under "calibration"."""
        return {"temperature": self.temperature, **self.errors}


def cross_fit(
    target: Target,
    logits: np.ndarray,
    labels: np.ndarray,
    parts: np.ndarray,
    *,
    temperature: bool,
    thresholds: bool,
    loss: str = "plain",
) -> Fitted:
    """Fit a temperature, thresholds or both to rows that were not learned from.

    Args:
        target: what is predicted.
        logits: float [rows, outputs].
        labels: of the rows.
        parts: int [rows]: what is fitted to other parts than a row's own makes its scores and its decision.
        temperature, thresholds: whether to fit them; 1 and the target's own otherwise.
        loss: that the model was trained by, which says what each row counts for the temperature and the errors.
    """
    weights = target.calibration_weights(labels, loss)

    def weights_of(rows: np.ndarray) -> np.ndarray | None:
        return None if weights is None else weights[rows]

    def fit_to(rows: np.ndarray) -> tuple[Target, float]:
        divisor = target.fit_temperature(logits[rows], labels[rows], weights_of(rows)) if temperature else 1.0
        if not thresholds:
            return target, divisor
        return target.with_thresholds(labels[rows], target.scores(logits[rows] / divisor)), divisor

    before = target.scores(logits)
    scores, decided = np.empty_like(before), np.empty_like(target.decide(before))
    temperatures = {}
    for part in np.unique(parts).tolist():
        rows = parts == part
        of_others, divisor = fit_to(~rows)
        temperatures[part] = divisor
        scores[rows] = target.scores(logits[rows] / divisor)
        decided[rows] = of_others.decide(scores[rows])
    fitted, divisor = fit_to(np.ones(len(labels), bool))
    errors_before, errors_after = (target.calibration_errors(labels, of_rows, weights) for of_rows in (before, scores))
    errors = {name: {"before": value, "after": errors_after[name]} for name, value in errors_before.items()}
    return Fitted(fitted, divisor, scores, decided, temperatures, errors)


def random_parts(rows: int, seed: int, parts: int = 5) -> np.ndarray:
    """Divide rows into parts of equal size at random: int64 [rows]."""
    return np.random.default_rng(seed).permutation(rows) % min(parts, max(rows, 1))
