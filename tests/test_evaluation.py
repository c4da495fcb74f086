"""Every row counted once, and metrics that are scikit-learn's, with and without the `evaluate` library."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from accel_clf import evaluate_module
from accel_clf.config.schema import EvaluationConfig
from accel_clf.core.errors import ConfigError, UserError
from accel_clf.data.dataset import Categorical, Dataset
from accel_clf.data.tokenization import TokenizedDataset
from accel_clf.inference.evaluate import evaluate
from accel_clf.inference.forward import compute_logits
from accel_clf.strategies.accelerate import AccelerateStrategy
from accel_clf.targets.metrics import (
    Averages,
    FoldsSummary,
    Metrics,
    average_metrics,
    classification_metrics,
    extra_metrics,
)
from accel_clf.targets.scores import probabilities


class FirstToken(nn.Module):
    """A classifier whose answer to a row is the row's first token, so that every answer can be traced."""

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> object:
        class Answer:
            logits = torch.stack([input_ids[:, 0], attention_mask.sum(1)], dim=1).float()

        return Answer


def some_rows(labels: np.ndarray, slices: Categorical | None = None) -> Dataset:
    count = len(labels)
    names = ("no", "yes")
    digests = np.zeros((count, 16), np.uint8)
    return Dataset("here", lambda: iter([]), np.arange(count), digests, Categorical(names, labels), slices=slices)


@pytest.mark.parametrize("layout", ["padded", "bucketed"])
@pytest.mark.parametrize("count", [1, 7, 8, 103])
def test_every_row_has_its_own_answer(layout: str, count: int) -> None:
    lengths = np.random.default_rng(0).integers(1, 30, count)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    tokens = TokenizedDataset(np.arange(starts[-1], dtype=np.int32), starts[:-1], starts[1:], int(starts[-1]))
    strategy = AccelerateStrategy("fp32")
    logits = compute_logits(
        FirstToken(), tokens, strategy, size=8, layout=layout, max_length=32, pad_id=0, show_progress=False
    )
    assert logits[:, 0].tolist() == starts[:-1].tolist()
    assert logits[:, 1].tolist() == lengths.tolist()


def test_a_lost_row_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    strategy = AccelerateStrategy("fp32")
    tokens = TokenizedDataset(np.arange(10, dtype=np.int32), np.arange(10), np.arange(1, 11), 9)
    whole = strategy.batches
    monkeypatch.setattr(strategy, "batches", lambda batches, collate: list(whole(batches, collate))[:-1])
    with pytest.raises(UserError, match="answered 8 rows"):
        compute_logits(
            FirstToken(), tokens, strategy, size=4, layout="padded", max_length=8, pad_id=0, show_progress=False
        )


def test_metrics_by_hand() -> None:
    labels = np.array([0, 0, 1, 1, 1])
    scores = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.3, 0.7], [0.8, 0.2]], np.float32)
    slices = Categorical(("de", "en"), np.array([0, 0, 0, 1, 1]))
    metrics = classification_metrics(labels, scores, ("no", "yes"), slices.codes, slices.names)
    assert metrics.rows == 5
    assert metrics["accuracy"] == pytest.approx(3 / 5)
    assert metrics.confusion == [[1, 1], [1, 2]]
    yes = {"precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3, "rows": 3}
    assert vars(metrics.per_class["yes"]) == pytest.approx(yes)
    assert metrics["macro_f1"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert metrics["log_loss"] == pytest.approx(-np.log([0.9, 0.4, 0.8, 0.7, 0.2]).mean(), rel=1e-6)
    assert {name: averages.rows for name, averages in metrics.slices.items()} == {"de": 3, "en": 2}
    assert metrics.slices["en"]["accuracy"] == pytest.approx(1 / 2)


def test_metrics_survive_json() -> None:
    """Built-in metrics come first, then the structure, then extra metrics: the order of files that exist."""
    labels, scores = np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.4, 0.6], [0.7, 0.3]])
    metrics = classification_metrics(labels, scores, ("no", "yes"), np.array([0, 1, 1]), ("de", "en"))
    metrics = replace(metrics, values=metrics.values | {"hits": 2.0})
    content = json.loads(json.dumps(metrics.to_json()))
    order = ["rows", "accuracy", "macro_f1", "weighted_f1", "log_loss", "per_class", "confusion", "slices", "hits"]
    assert list(content) == order
    assert Metrics.from_json(content) == metrics
    assert Metrics.from_json(content).to_json() == metrics.to_json()
    assert list(Metrics.from_json(content).to_json()) == order


def test_mean_and_spread_over_folds() -> None:
    def fold(accuracy: float, slices: dict[str, Averages]) -> Metrics:
        values = dict.fromkeys(("macro_f1", "weighted_f1", "log_loss"), 0.5)
        return Metrics(10, {"accuracy": accuracy, **values}, {}, [], slices)

    de, en = Averages(4, {"accuracy": 0.25}), Averages(6, {"accuracy": 1.0})
    summary = FoldsSummary.of([fold(0.5, {"de": de, "en": en}), fold(0.9, {"en": en})])
    assert summary.overall.mean["accuracy"] == pytest.approx(0.7)
    assert summary.overall.spread["accuracy"] == pytest.approx(0.2 * 2**0.5)
    assert summary.slices["de"].spread["accuracy"] == 0.0, "one fold has no spread"
    content = summary.to_json()
    assert list(content) == ["mean", "spread", "each", "slices"]
    assert [each["slices"] for each in content["each"]] == [
        {"de": {"rows": 4, "accuracy": 0.25}, "en": {"rows": 6, "accuracy": 1.0}},
        {"en": {"rows": 6, "accuracy": 1.0}},
    ]


def test_the_local_evaluate_module_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import evaluate

    random = np.random.default_rng(0)
    sure = random.dirichlet([1, 1, 1], 50).astype(np.float32)
    labels = random.integers(0, 3, 50)
    module = evaluate.load(evaluate_module.__file__, keep_in_memory=True)
    exact = sure.astype(np.float64) / sure.sum(axis=1, keepdims=True, dtype=np.float64)
    assert module.compute(predictions=sure, references=labels) == pytest.approx(
        average_metrics(labels, exact).to_json()
    )


OWN_METRIC = """
import datasets
import evaluate

class Hits(evaluate.Metric):
    def _info(self):
        features = datasets.Features({"predictions": datasets.Value("int64"), "references": datasets.Value("int64")})
        return evaluate.MetricInfo(description="", citation="", inputs_description="", features=features)

    def _compute(self, predictions, references):
        return {"hits": sum(int(p == r) for p, r in zip(predictions, references))}
"""


def test_any_metric_by_path(tmp_path: Path) -> None:
    path = tmp_path / "hits.py"
    path.write_text(OWN_METRIC)
    labels = np.array([0, 1, 1])
    assert extra_metrics([str(path)], labels, np.array([0, 1, 0])) == {"hits": 2.0}
    settings = EvaluationConfig(metric="hits", metrics=(str(path), "hits"))
    with pytest.raises(ConfigError, match="hits cannot be used"):  # a name that is nowhere, offline
        evaluate(np.full((3, 2), 0.5), some_rows(labels), settings)


def test_larger_scores_are_better() -> None:
    labels = np.array([0, 1])
    good, bad = np.array([[5, 0], [0, 5]], np.float32), np.array([[0, 5], [5, 0]], np.float32)
    for metric in ("accuracy", "macro_f1", "weighted_f1", "log_loss"):
        settings = EvaluationConfig(metric=metric)
        scores = [evaluate(probabilities(found), some_rows(labels), settings).score for found in (good, bad)]
        assert scores[0] > scores[1]
    assert probabilities(good).sum(axis=1) == pytest.approx([1, 1])
