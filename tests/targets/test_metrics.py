"""Classification metrics equal scikit-learn's, with and without the `evaluate` library."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from accel_clf import evaluate_module
from accel_clf.data.dataset import Categorical
from accel_clf.targets.classification import average_metrics
from accel_clf.targets.metrics import Averages, FoldsSummary, Metrics
from accel_clf.targets.modules import module_metrics
from accel_clf.targets.single_label import SingleLabel

HITS_METRIC = """
import datasets
import evaluate

class Hits(evaluate.Metric):
    def _info(self):
        features = datasets.Features({"predictions": datasets.Value("int64"), "references": datasets.Value("int64")})
        return evaluate.MetricInfo(description="", citation="", inputs_description="", features=features)

    def _compute(self, predictions, references):
        return {"hits": sum(int(p == r) for p, r in zip(predictions, references))}
"""


def test_metrics_equal_values_computed_by_hand() -> None:
    labels = np.array([0, 0, 1, 1, 1])
    scores = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.3, 0.7], [0.8, 0.2]], np.float32)
    slices = Categorical(("de", "en"), np.array([0, 0, 0, 1, 1]))
    metrics = SingleLabel(("no", "yes")).metrics(labels, scores, slices.codes, slices.names)
    assert metrics.rows == 5
    assert metrics["accuracy"] == pytest.approx(3 / 5)
    assert metrics.confusion == [[1, 1], [1, 2]]
    yes = {"precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3, "rows": 3, "predicted": 3}
    assert metrics.per_class["yes"].to_json() == pytest.approx(yes)
    assert metrics["macro_f1"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert metrics["log_loss"] == pytest.approx(-np.log([0.9, 0.4, 0.8, 0.7, 0.2]).mean(), rel=1e-6)
    assert {name: averages.rows for name, averages in metrics.slices.items()} == {"de": 3, "en": 2}
    assert metrics.slices["en"]["accuracy"] == pytest.approx(1 / 2)


def test_metrics_survive_json() -> None:
    """Built-in metrics come first, then the structure, then extra metrics: the order of files that exist."""
    labels, scores = np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.4, 0.6], [0.7, 0.3]])
    metrics = SingleLabel(("no", "yes")).metrics(labels, scores, np.array([0, 1, 1]), ("de", "en"))
    metrics = replace(metrics, values=metrics.values | {"hits": 2.0})
    content = json.loads(json.dumps(metrics.to_json()))
    order = [
        "rows",
        "accuracy",
        "macro_f1",
        "weighted_f1",
        "log_loss",
        "ece",
        "per_class",
        "confusion",
        "slices",
        "hits",
    ]
    assert list(content) == order
    assert Metrics.from_json(content) == metrics
    assert Metrics.from_json(content).to_json() == metrics.to_json()
    assert list(Metrics.from_json(content).to_json()) == order


def test_summary_has_mean_and_spread_over_folds() -> None:
    def fold_metrics(accuracy: float, slices: dict[str, Averages]) -> Metrics:
        values = dict.fromkeys(("macro_f1", "weighted_f1", "log_loss"), 0.5)
        return Metrics(10, {"accuracy": accuracy, **values}, {}, [], slices)

    de, en = Averages(4, {"accuracy": 0.25}), Averages(6, {"accuracy": 1.0})
    summary = FoldsSummary.of([fold_metrics(0.5, {"de": de, "en": en}), fold_metrics(0.9, {"en": en})])
    assert summary.overall.mean["accuracy"] == pytest.approx(0.7)
    assert summary.overall.spread["accuracy"] == pytest.approx(0.2 * 2**0.5)
    assert summary.slices["de"].spread["accuracy"] == 0.0, "one fold has no spread"
    content = summary.to_json()
    assert list(content) == ["mean", "spread", "each", "slices"]
    assert [fold["slices"] for fold in content["each"]] == [
        {"de": {"rows": 4, "accuracy": 0.25}, "en": {"rows": 6, "accuracy": 1.0}},
        {"en": {"rows": 6, "accuracy": 1.0}},
    ]


def test_evaluate_module_computes_the_same_metrics() -> None:
    import evaluate

    rng = np.random.default_rng(0)
    scores = rng.dirichlet([1, 1, 1], 50).astype(np.float32)
    labels = rng.integers(0, 3, 50)
    module = evaluate.load(evaluate_module.__file__, keep_in_memory=True)
    exact = scores.astype(np.float64) / scores.sum(axis=1, keepdims=True, dtype=np.float64)
    assert module.compute(predictions=scores, references=labels) == pytest.approx(
        average_metrics(labels, exact).to_json()
    )


def test_module_is_loaded_from_a_path(tmp_path: Path) -> None:
    path = tmp_path / "hits.py"
    path.write_text(HITS_METRIC)
    labels, predicted = np.array([0, 1, 1]), np.array([0, 1, 0])
    assert module_metrics([str(path)], labels, predicted, np.zeros((3, 2))) == {"hits": 2.0}


def test_modules_get_the_scores_that_they_ask_for(tmp_path: Path) -> None:
    """As the library's own roc_auc does, by the name that it has there; and ours, of all classes."""
    path = tmp_path / "mean_score.py"
    by_score = HITS_METRIC.replace(
        '"predictions": datasets.Value("int64")', '"prediction_scores": datasets.Value("float32")'
    )
    by_score = by_score.replace("predictions, references):\n", "prediction_scores, references):\n")
    path.write_text(by_score.partition("        return {")[0] + '        return {"mean": sum(prediction_scores) / 3}\n')
    labels, scores = np.array([0, 1, 1]), np.array([[0.75, 0.25], [0.5, 0.5], [0.25, 0.75]])
    predicted = scores.argmax(axis=1)
    assert module_metrics([str(path)], labels, predicted, scores) == {"mean": 0.5}
    own = module_metrics([evaluate_module.__file__], labels, predicted, scores)
    assert own == pytest.approx(average_metrics(labels, scores).to_json())
