"""Temperature and expected calibration error, on labels drawn from known probabilities."""

import numpy as np
import pytest

from accel_clf.targets.calibration import expected_calibration_error, fit_temperature
from accel_clf.targets.fitting import cross_fit
from accel_clf.targets.scores import probabilities
from accel_clf.targets.single_label import SingleLabel


def cross_fitted(logits: np.ndarray, labels: np.ndarray, folds: np.ndarray) -> np.ndarray:
    return cross_fit(SingleLabel(("a", "b", "c")), logits, labels, folds, temperature=True, thresholds=False).scores


@pytest.fixture
def calibrated() -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn from their probabilities."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(20_000, 3)) * 2
    scores = probabilities(logits)
    return logits, (scores.cumsum(axis=1) < rng.random((len(logits), 1))).sum(axis=1)


@pytest.mark.parametrize("factor", [0.25, 1.0, 4.0])
def test_temperature_undoes_scaling_of_logits(calibrated: tuple[np.ndarray, np.ndarray], factor: float) -> None:
    logits, labels = calibrated
    assert fit_temperature(logits * factor, labels) == pytest.approx(factor, rel=0.03)
    folds = np.arange(len(labels)) % 5
    assert expected_calibration_error(cross_fitted(logits * factor, labels, folds), labels) < 0.015


def test_calibration_error_is_the_gap_between_confidence_and_accuracy(
    calibrated: tuple[np.ndarray, np.ndarray],
) -> None:
    logits, labels = calibrated
    assert expected_calibration_error(probabilities(logits), labels) < 0.015
    assert expected_calibration_error(probabilities(logits * 4), labels) > 0.1
    confident = np.tile([[0.9, 0.1]], (10, 1))
    assert expected_calibration_error(confident, np.array([0] * 7 + [1] * 3)) == pytest.approx(0.2)
    assert expected_calibration_error(np.tile([[1.0, 0.0]], (4, 1)), np.zeros(4, int)) == 0


def test_folds_temperature_does_not_depend_on_its_labels(calibrated: tuple[np.ndarray, np.ndarray]) -> None:
    logits, labels = calibrated[0][:200], calibrated[1][:200]
    folds = np.arange(200) % 2
    fold_mask = folds == 1
    wrong = labels.copy()
    wrong[fold_mask] = (wrong[fold_mask] + 1) % 3
    expected = cross_fitted(logits, labels, folds)[fold_mask]
    assert np.array_equal(expected, cross_fitted(logits, wrong, folds)[fold_mask])


def test_separable_logits_have_a_finite_temperature() -> None:
    assert 0 < fit_temperature(np.eye(3) * 5, np.arange(3)) < 1


@pytest.mark.parametrize("loss", ["weighted", "logit_adjusted"])
def test_losses_that_make_up_for_shares_have_the_temperature_of_equally_common_labels(
    calibrated: tuple[np.ndarray, np.ndarray], loss: str
) -> None:
    """Also where the rare labels' logits are too large, and those of the common one are not."""
    logits, labels = calibrated
    logits = logits * np.array([1, 2, 8])[labels][:, None]
    expected = fit_temperature(logits, labels)
    kept = np.random.default_rng(1).random(len(labels)) < np.array([1.0, 0.2, 0.1])[labels]
    logits, labels = logits[kept], labels[kept]
    target, parts = SingleLabel(("a", "b", "c")), np.arange(len(labels)) % 5
    fitted = cross_fit(target, logits, labels, parts, temperature=True, thresholds=False, loss=loss)
    assert fitted.temperature == pytest.approx(expected, rel=0.1)
    assert fit_temperature(logits, labels) < 0.8 * expected
