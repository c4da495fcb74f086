"""How far scores can be taken for probabilities, and the temperature that brings them nearer."""

from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize_scalar

BINS = 15
LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 0.05, 20.0


def best_temperature(loss: Callable[[float], float]) -> float:
    """Find the temperature with the lowest loss, which has one minimum (Guo et al., 2017)."""
    bounds = (np.log(LOWEST_TEMPERATURE), np.log(HIGHEST_TEMPERATURE))
    log_temperature = minimize_scalar(lambda value: loss(np.exp(value)), bounds=bounds, method="bounded").x
    return float(np.exp(log_temperature))


def fit_temperature(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Find the number to divide logits by that maximizes the likelihood of the labels.

    Args:
        logits: float [rows, classes], of rows that the model has not been trained on.
        labels: int [rows], the right classes.
        weights: float [rows], what each row counts; all the same by default.
    """
    rows = np.arange(len(labels))

    def loss(temperature: float) -> float:
        scaled = logits.astype(np.float64) / temperature
        scaled -= scaled.max(axis=1, keepdims=True)
        return float(np.average(np.log(np.exp(scaled).sum(axis=1)) - scaled[rows, labels], weights=weights))

    return best_temperature(loss)


def fit_binary_temperature(
    logits: np.ndarray, outcomes: np.ndarray, counts: np.ndarray, weights: np.ndarray | None = None
) -> float:
    """Find the number to divide logits by that maximizes the likelihood of outcomes that are true or not.

    Args:
        logits: float [rows, outputs].
        outcomes: bool [rows, outputs].
        counts: bool [rows, outputs], which of them are known.
        weights: float [rows], what each row counts; all the same by default.
    """
    of_known = None if weights is None else np.broadcast_to(weights[:, None], counts.shape)[counts]
    signed = np.where(outcomes, -1.0, 1.0)[counts] * logits.astype(np.float64)[counts]
    return best_temperature(
        lambda temperature: float(np.average(np.logaddexp(0, signed / temperature), weights=of_known))
    )


def expected_calibration_error(
    probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None
) -> float:
    """Compute how far scores are from the share of right predictions.

    The score is that of the likeliest label (Naeini et al., 2015; Guo et al., 2017).

    Args:
        probabilities: float [rows, classes].
        labels: int [rows].
        weights: float [rows], what each row counts; all the same by default.
    """
    return calibration_error(probabilities.max(axis=1), probabilities.argmax(axis=1) == labels, weights)


def calibration_error(scores: np.ndarray, is_right: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Compute how far scores are from the share of what they are for, in BINS bins of equal width.

    Args:
        scores: float [rows], 0 to 1.
        is_right: bool [rows].
        weights: float [rows], what each row counts; all the same by default.
    """
    weights = np.ones(len(scores)) if weights is None else weights
    bins = np.minimum((scores * BINS).astype(int), BINS - 1)
    right, expected = (np.bincount(bins, weights=value * weights, minlength=BINS) for value in (is_right, scores))
    return float(np.abs(right - expected).sum() / weights.sum())
