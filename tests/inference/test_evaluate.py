"""Evaluation adds extra metrics, and its score is larger for better models."""

from pathlib import Path

import numpy as np
import pytest

from accel_clf.config.schema import EvaluationConfig
from accel_clf.core.errors import ConfigError
from accel_clf.data.dataset import Dataset
from accel_clf.inference.evaluate import evaluate
from accel_clf.targets.scores import probabilities
from accel_clf.targets.single_label import SingleLabel
from tests.targets.test_metrics import HITS_METRIC


def make_rows(labels: np.ndarray) -> Dataset:
    """Rows without texts, for the labels "no" (0) and "yes" (1)."""
    count = len(labels)
    digests = np.zeros((count, 16), np.uint8)
    return Dataset("here", lambda: iter([]), np.arange(count), digests, SingleLabel(("no", "yes")), labels)


@pytest.fixture
def hits_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The path of a metric, which in this working folder has a name, too: "hits"."""
    path = tmp_path / "hits" / "hits.py"
    path.parent.mkdir()
    path.write_text(HITS_METRIC)
    monkeypatch.chdir(tmp_path)
    return str(path)


def test_extra_metric_selects_the_best_model(hits_path: str) -> None:
    scores, rows = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]]), make_rows(np.array([0, 1, 1]))
    result = evaluate(scores, rows, EvaluationConfig(metric="hits", metrics=("hits",)))
    assert result.metrics["hits"] == result.score == 2.0
    with pytest.raises(ConfigError, match=r"evaluation\.metric is .*hits\.py, and no metric answered with that name"):
        evaluate(scores, rows, EvaluationConfig(metric=hits_path, metrics=(hits_path,)))


def test_unknown_metric_is_refused(hits_path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path / "hits")  # where the name is unknown, and there is no Hub
    settings = EvaluationConfig(metric="hits", metrics=(hits_path, "hits"))
    with pytest.raises(ConfigError, match="hits cannot be used"):
        evaluate(np.full((3, 2), 0.5), make_rows(np.array([0, 1, 1])), settings)


def test_better_logits_get_a_higher_score() -> None:
    labels = np.array([0, 1])
    good, bad = np.array([[5, 0], [0, 5]], np.float32), np.array([[0, 5], [5, 0]], np.float32)
    for metric in ("accuracy", "macro_f1", "weighted_f1", "log_loss"):
        settings = EvaluationConfig(metric=metric)
        scores = [evaluate(probabilities(logits), make_rows(labels), settings).score for logits in (good, bad)]
        assert scores[0] > scores[1]
    assert probabilities(good).sum(axis=1) == pytest.approx([1, 1])
