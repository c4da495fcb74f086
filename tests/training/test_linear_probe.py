"""A head that begins as a linear model: towards each kind's loss, exactly resumed, and what transformers loads."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import pipeline

import accel_clf
from accel_clf.config.load import load
from accel_clf.config.schema import Config
from accel_clf.core.errors import ConfigError, Interrupted
from accel_clf.models.head import last_linear
from accel_clf.training import linear_probe, loop
from accel_clf.training.linear_probe import fit_head
from accel_clf.training.prepare import PreparedRun, prepare_run, read_splits
from accel_clf.training.run import train
from tests.conftest import read_csv
from tests.training.test_kinds import KINDS

KINDS_AND_MORE: dict[str, dict[str, Any]] = {
    **KINDS,
    "windows": {"data": {"label": "positive", "max_length": 8, "windows": {"stride": 2}}},
    "weighted": {"data": {"label": "grade"}, "target": {"loss": "weighted"}},
}


def settings_of(kind: str, table: Path, tiny_bert: Path, output: Path) -> dict[str, Any]:
    parts = KINDS_AND_MORE[kind]
    return {
        "model": {"name": str(tiny_bert)},
        "data": {"train": str(table), "validation": 0.5, "max_length": 64, "near_duplicates": False, **parts["data"]},
        "target": parts.get("target", {}),
        "training": {"method": "lp_ft", "epochs": 1, "precision": "fp32"},
        "output": str(output),
    }


def loss_of(model: Any, prepared: PreparedRun) -> float:
    """Measure the loss of the training rows."""
    rows = prepared.training_rows("padded")
    name = last_linear(model)
    assert name
    length = prepared.config.data.max_length
    states = linear_probe._states(model, name, rows, np.arange(len(rows.tokens)), length)
    with torch.no_grad():
        outputs = model.get_submodule(name)(states)
    return float(rows.objective.loss(outputs, torch.from_numpy(rows.objective.labels)))


@pytest.mark.parametrize("kind", KINDS_AND_MORE)
def test_head_begins_with_less_loss_than_at_random(kind: str, table: Path, tiny_bert: Path, tmp_path: Path) -> None:
    config = load(None, settings_of(kind, table, tiny_bert, tmp_path / "run"))
    prepared, model = prepare_run(config, read_splits(config), quiet=True)
    encoder = {name: tensor.clone() for name, tensor in model.base_model.state_dict().items()}
    before = loss_of(model, prepared)
    fit_head(model, prepared)
    assert loss_of(model, prepared) < 0.97 * before
    again = prepared.load_model()
    fit_head(again, prepared)
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in model.state_dict().items())
    assert all(torch.equal(model.base_model.state_dict()[name], tensor) for name, tensor in encoder.items())


def test_it_is_the_logistic_regression_of_scikit_learn(table: Path, tiny_bert: Path, tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    config = load(None, settings_of("single_label", table, tiny_bert, tmp_path / "run"))
    prepared, model = prepare_run(config, read_splits(config), quiet=True)
    rows = prepared.training_rows("padded")
    states = linear_probe._states(model, "classifier", rows, np.arange(len(rows.tokens)), 64).numpy()
    fit_head(model, prepared)
    inputs = states / np.sqrt((states**2).sum(axis=1).mean())
    # Two outputs share what its one has: each has half the weights, and both together half the penalty.
    estimator = LogisticRegression(C=20, tol=1e-8, max_iter=5000).fit(inputs, rows.objective.labels)
    with torch.no_grad():
        outputs = model.classifier(torch.from_numpy(states)).numpy()  # type: ignore[operator]
    expected = estimator.decision_function(inputs)
    assert np.allclose(outputs[:, 1] - outputs[:, 0], expected, atol=0.02 * np.abs(expected).max())


def test_many_rows_are_sampled(
    table: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(linear_probe, "MAX_ROWS", 100)
    config = load(None, settings_of("single_label", table, tiny_bert, tmp_path / "run"))
    fit_head(*reversed(prepare_run(config, read_splits(config), quiet=True)))
    assert "embeddings of 100 training rows" in capsys.readouterr().err


def test_pipeline_computes_the_same(table: Path, tiny_bert: Path, tmp_path: Path) -> None:
    run = accel_clf.train(settings_of("single_label", table, tiny_bert, tmp_path / "run"))
    assert run.config.training.learning_rate == 5e-5, "what the method sets"
    texts = [row["text"] for row in read_csv(table)[:20]]
    classify = pipeline("text-classification", model=str(run.path / "model"), device="cpu")
    for ours, theirs in zip(run.predict(texts), classify(texts), strict=True):
        assert (ours["label"], ours["score"]) == (theirs["label"], pytest.approx(theirs["score"], abs=1e-5))


def test_stopped_run_ends_the_same(
    table: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of("single_label", table, tiny_bert, tmp_path / "undisturbed")
    train(load(None, settings))

    settings["output"] = str(tmp_path / "stopped")
    step, steps = loop.train_step, [0]

    def stopped_step(*args: Any) -> Any:
        steps[0] += 1
        if steps[0] == 5:
            monkeypatch.setattr("accel_clf.core.signals.stop_signal", lambda: 15)
        return step(*args)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", stopped_step)
        with pytest.raises(Interrupted):
            train(load(None, settings))
    monkeypatch.setattr("accel_clf.core.signals.stop_signal", lambda: 0)
    monkeypatch.setattr("accel_clf.training.resume.fit_head", lambda *args: pytest.fail("the checkpoint has the head"))
    train(load(None, settings))
    first, second = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("undisturbed", "stopped"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_trained_head_is_not_replaced(table: Path, tiny_bert: Path, tmp_path: Path) -> None:
    settings = settings_of("single_label", table, tiny_bert, tmp_path / "first")
    train(load(None, settings))
    settings |= {"model": {"name": str(tmp_path / "first" / "model")}, "output": str(tmp_path / "second")}
    with pytest.raises(ConfigError, match="trained head"):
        train(load(None, settings))


def test_folds_begin_with_heads_of_their_own(table: Path, tiny_bert: Path, tmp_path: Path) -> None:
    settings = settings_of("single_label", table, tiny_bert, tmp_path / "cv") | {"folds": 2}
    settings["training"]["learning_rate"] = 1e-12
    accel_clf.cross_validate(settings)
    heads = [
        load_file(tmp_path / "cv" / fold / "model" / "model.safetensors")["classifier.weight"]
        for fold in ("fold-0", "fold-1")
    ]
    assert not torch.allclose(*heads, atol=0.01)


@pytest.mark.parametrize(
    ("model", "message"),
    [({"name": "demo"}, "trained from scratch"), ({"name": "bert", "lora": {"rank": 4}}, "exclude each other")],
)
def test_models_that_it_does_not_fit_are_refused(model: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Config.model_validate({"training": {"method": "lp_ft"}, "model": model})
