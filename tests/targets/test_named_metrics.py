"""Metrics by name equal scikit-learn's, choose the best model, and are there in slices."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.metrics
from pydantic import ValidationError

from accel_clf.config.load import load
from accel_clf.config.metric_names import LABEL_METRICS, NAMED_METRICS
from accel_clf.config.schema import EvaluationConfig, TargetConfig
from accel_clf.core.errors import ConfigError
from accel_clf.inference.evaluate import evaluate
from accel_clf.targets.named_metrics import named_metric
from accel_clf.targets.single_label import SingleLabel
from accel_clf.training.run import train
from tests.inference.test_evaluate import make_rows

NAMES = ("a", "b", "c")


def some_answers(classes: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(classes)
    labels = rng.integers(0, classes, 200)
    return labels, rng.dirichlet(np.ones(classes), 200) * 0.5 + np.eye(classes)[labels] * 0.5 * rng.random((200, 1))


def normalized(scores: np.ndarray) -> np.ndarray:
    shares: np.ndarray = scores / scores.sum(axis=1, keepdims=True)
    return shares


@pytest.mark.parametrize("classes", [2, 3])
def test_metrics_equal_scikit_learns(classes: int) -> None:
    labels, scores = some_answers(classes)
    scores, names = normalized(scores), NAMES[:classes]
    predicted, of_curve = scores.argmax(axis=1), scores[:, 1] if classes == 2 else scores
    one_hot = np.eye(classes)[labels]
    expected = {
        "roc_auc": sklearn.metrics.roc_auc_score(labels, of_curve, multi_class="ovr"),
        "average_precision": sklearn.metrics.average_precision_score(labels if classes == 2 else one_hot, of_curve),
        "mcc": sklearn.metrics.matthews_corrcoef(labels, predicted),
        "balanced_accuracy": sklearn.metrics.balanced_accuracy_score(labels, predicted),
        "brier": sklearn.metrics.brier_score_loss(labels, of_curve),
        "f1:b": sklearn.metrics.f1_score(labels, predicted, labels=[1], average="macro"),
        "precision:b": sklearn.metrics.precision_score(labels, predicted, labels=[1], average="macro"),
        "recall:b": sklearn.metrics.recall_score(labels, predicted, labels=[1], average="macro"),
    }
    assert {
        name: named_metric(name, labels, scores, scores.argmax(axis=1), names) for name in expected
    } == pytest.approx(expected)


def test_areas_leave_out_labels_that_no_row_or_every_row_has() -> None:
    labels, scores = np.array([0, 0, 1]), np.array([[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.3, 0.6, 0.1]])
    assert named_metric("roc_auc", labels, scores, labels, NAMES) == 1.0
    assert np.isnan(named_metric("roc_auc", labels[:2], scores[:2], labels[:2], NAMES))


def test_named_metric_selects_the_best_model_and_is_there_in_slices() -> None:
    labels = np.array([0, 1, 1, 0])
    good = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.7, 0.3]])
    bad = good[:, ::-1]
    for metric in ("ece", *NAMED_METRICS, *(f"{name}:yes" for name in LABEL_METRICS)):
        results = [evaluate(scores, make_rows(labels), EvaluationConfig(metric=metric)) for scores in (good, bad)]
        assert results[0].score > results[1].score, metric
    named = ("roc_auc", "f1:yes")
    metrics = SingleLabel(("no", "yes")).metrics(labels, good, np.array([0, 0, 1, 1]), ("de", "en"), named)
    assert {name: metrics.slices["en"][name] for name in named} == {"roc_auc": 1.0, "f1:yes": 1.0}


def test_unknown_label_is_refused_before_training(tmp_path: Path, reviews: Path, tiny_bert: Path) -> None:
    SingleLabel(NAMES).check_settings(TargetConfig(), ["f1:b", "mcc"])
    settings: dict[str, Any] = {
        "model": {"name": str(tiny_bert)}, "data": {"train": str(reviews), "max_length": 64},
        "evaluation": {"metrics": ["recall:positiv"]}, "output": str(tmp_path / "run"),
    }  # fmt: skip
    with pytest.raises(ConfigError, match=r"recall:positiv, and no row has the label 'positiv'") as error:
        train(load(None, settings))
    assert error.value.fix == "did you mean positive?"
    assert not (tmp_path / "run").exists()


def test_unknown_metric_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValidationError, match=r"'auc' is neither accuracy, .*roc_auc, .*f1:LABEL nor in metrics"):
        EvaluationConfig(metric="auc")
