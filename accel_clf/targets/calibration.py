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


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Find the number to divide logits by that maximizes the likelihood of the labels.

    Args:
        logits: float [rows, classes], of rows that the model has not been trained on.
        labels: int [rows], the right classes.
    """
    rows = np.arange(len(labels))

    def loss(temperature: float) -> float:
        scaled = logits.astype(np.float64) / temperature
        scaled -= scaled.max(axis=1, keepdims=True)
        return float(np.mean(np.log(np.exp(scaled).sum(axis=1)) - scaled[rows, labels]))

    return best_temperature(loss)


def fit_binary_temperature(logits: np.ndarray, outcomes: np.ndarray, counts: np.ndarray) -> float:
    """Find the number to divide logits by that maximizes the likelihood of outcomes that are true or not.

    Args:
        logits: float [rows, outputs].
        outcomes: bool [rows, outputs].
        counts: bool [rows, outputs], which of them are known.
    """
    signed = np.where(outcomes, -1.0, 1.0)[counts] * logits.astype(np.float64)[counts]
    return best_temperature(lambda temperature: float(np.logaddexp(0, signed / temperature).mean()))


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Compute how far scores are from the share of right predictions.

    The score is that of the likeliest label (Naeini et al., 2015; Guo et al., 2017).

    Args:
        probabilities: float [rows, classes].
        labels: int [rows].
    """
    return calibration_error(probabilities.max(axis=1), probabilities.argmax(axis=1) == labels)


def calibration_error(scores: np.ndarray, is_right: np.ndarray) -> float:
    """Compute how far scores are from the share of what they are for, in BINS bins of equal width.

    Args:
        scores: float [rows], 0 to 1.
        is_right: bool [rows].
    """
    bins = np.minimum((scores * BINS).astype(int), BINS - 1)
    gaps = np.bincount(bins, weights=is_right, minlength=BINS) - np.bincount(bins, weights=scores, minlength=BINS)
    return float(np.abs(gaps).sum() / len(scores))
