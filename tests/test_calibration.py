"""Temperature and calibration error, on answers whose truth is known."""

import numpy as np
import pytest

from accel_clf.targets.calibration import cross_fitted, expected_calibration_error, fit_temperature
from accel_clf.targets.scores import probabilities


@pytest.fixture
def honest() -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn by the probabilities that these mean."""
    draw = np.random.default_rng(0)
    logits = draw.normal(size=(20_000, 3)) * 2
    chances = probabilities(logits)
    return logits, (chances.cumsum(axis=1) < draw.random((len(logits), 1))).sum(axis=1)


@pytest.mark.parametrize("factor", [0.25, 1.0, 4.0])
def test_the_temperature_undoes_what_was_done(honest: tuple[np.ndarray, np.ndarray], factor: float) -> None:
    logits, labels = honest
    assert fit_temperature(logits * factor, labels) == pytest.approx(factor, rel=0.03)
    folds = np.arange(len(labels)) % 5
    assert expected_calibration_error(cross_fitted(logits * factor, labels, folds), labels) < 0.015


def test_the_error_is_the_gap(honest: tuple[np.ndarray, np.ndarray]) -> None:
    logits, labels = honest
    assert expected_calibration_error(probabilities(logits), labels) < 0.015
    assert expected_calibration_error(probabilities(logits * 4), labels) > 0.1
    sure = np.tile([[0.9, 0.1]], (10, 1))
    assert expected_calibration_error(sure, np.array([0] * 7 + [1] * 3)) == pytest.approx(0.2)
    assert expected_calibration_error(np.tile([[1.0, 0.0]], (4, 1)), np.zeros(4, int)) == 0


def test_a_fold_has_no_say_in_its_own_temperature(honest: tuple[np.ndarray, np.ndarray]) -> None:
    logits, labels = honest[0][:200], honest[1][:200]
    folds = np.arange(200) % 2
    wrong = labels.copy()
    wrong[folds == 1] = (wrong[folds == 1] + 1) % 3
    own = folds == 1
    assert np.array_equal(cross_fitted(logits, labels, folds)[own], cross_fitted(logits, wrong, folds)[own])


def test_logits_that_are_always_right_have_a_temperature() -> None:
    assert 0 < fit_temperature(np.eye(3) * 5, np.arange(3)) < 1
