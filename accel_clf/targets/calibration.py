"""How far scores can be taken for probabilities, and the temperature that brings them nearer."""

import numpy as np
from scipy.optimize import minimize_scalar

from accel_clf.targets.scores import probabilities

BINS = 15
LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 0.05, 20.0


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Find the number to divide logits by that maximizes the likelihood of the labels (Guo et al., 2017).

    Args:
        logits: float [rows, classes], of rows that the model has not been trained on.
        labels: int [rows], the right classes.
    """
    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        scaled = logits.astype(np.float64) / np.exp(log_temperature)
        scaled -= scaled.max(axis=1, keepdims=True)
        return float(np.mean(np.log(np.exp(scaled).sum(axis=1)) - scaled[rows, labels]))

    bounds = (np.log(LOWEST_TEMPERATURE), np.log(HIGHEST_TEMPERATURE))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x))


def cross_fitted(logits: np.ndarray, labels: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Compute each row's probabilities at a temperature fitted on the other folds' rows: float64 [rows, classes].

    Args:
        logits, labels: see `fit_temperature`.
        folds: int [rows].
    """
    scaled = np.empty(logits.shape)
    for fold in np.unique(folds):
        in_fold = folds == fold
        temperature = fit_temperature(logits[~in_fold], labels[~in_fold])
        scaled[in_fold] = probabilities(logits[in_fold] / temperature)
    return scaled


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Compute how far scores are from the share of right predictions, in BINS bins of equal width.

    The score is that of the predicted label (Naeini et al., 2015; Guo et al., 2017).

    Args:
        probabilities: float [rows, classes].
        labels: int [rows].
    """
    scores, is_right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    bins = np.minimum((scores * BINS).astype(int), BINS - 1)
    gaps = np.bincount(bins, weights=is_right, minlength=BINS) - np.bincount(bins, weights=scores, minlength=BINS)
    return float(np.abs(gaps).sum() / len(labels))
