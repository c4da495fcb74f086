"""How far scores can be taken for probabilities, and the temperature that brings them nearer."""

import numpy as np
from scipy.optimize import minimize_scalar

from accel_clf.targets.scores import probabilities

BINS = 15
COLDEST, HOTTEST = 0.05, 20.0


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """What to divide logits by, so that the right labels get the largest likelihood (Guo et al., 2017).

    Args:
        logits: float [rows, classes], of rows that the model has not learned from.
        labels: int [rows], the right classes.
    """
    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        scaled = logits.astype(np.float64) / np.exp(log_temperature)
        scaled -= scaled.max(axis=1, keepdims=True)
        return float(np.mean(np.log(np.exp(scaled).sum(axis=1)) - scaled[rows, labels]))

    found = minimize_scalar(loss, bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded")
    return float(np.exp(found.x))


def cross_fitted(logits: np.ndarray, labels: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Probabilities at a temperature that was fitted on the other folds' rows: float64 [rows, classes].

    Args:
        logits, labels: see `temperature`.
        folds: int [rows].
    """
    scaled = np.empty(logits.shape)
    for fold in np.unique(folds):
        own = folds == fold
        scaled[own] = probabilities(logits[own] / fit_temperature(logits[~own], labels[~own]))
    return scaled


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The expected calibration error: how far scores are from the share of right answers, in BINS bins of equal width.

    The score is that of the label that is answered (Naeini et al., 2015; Guo et al., 2017).

    Args:
        probabilities: float [rows, classes].
        labels: int [rows].
    """
    score, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    place = np.minimum((score * BINS).astype(int), BINS - 1)
    gap = np.bincount(place, weights=right, minlength=BINS) - np.bincount(place, weights=score, minlength=BINS)
    return float(np.abs(gap).sum() / len(labels))
