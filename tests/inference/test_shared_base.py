"""A cross-validation with LoRA is one model in memory, and answers as its folds' merged models do."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import accel_clf.inference.predictor
from accel_clf.config.load import load
from accel_clf.cross_validation.run import cross_validate
from accel_clf.inference.predictor import Predictor
from accel_clf.inference.shared_base import AdaptedModel

TEXTS = ["i never thought the soup was dull.", "the room", "my aunt called the film superb, but i found it awful."]


@pytest.fixture(scope="module")
def folds(tmp_path_factory: pytest.TempPathFactory, reviews: Path, tiny_bert: Path) -> Path:
    folder = tmp_path_factory.mktemp("cv") / "lora"
    cross_validate(
        load(
            None,
            {
                "model": {"name": str(tiny_bert), "lora": {"rank": 4}},
                "data": {"train": str(reviews), "max_length": 64},
                "training": {"learning_rate": 1e-2},
                "folds": 3,
                "output": str(folder),
            },
        )
    )
    return folder


@pytest.mark.parametrize("low_latency", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_one_model_answers_for_all_folds(
    folds: Path, precision: str, low_latency: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = Predictor(folds, precision, low_latency=low_latency)
    assert len(shared.models) == 3
    assert all(isinstance(model, AdaptedModel) for model in shared.models)
    tables = {id(next(model.model.parameters())) for model in shared.models}  # type: ignore[union-attr]
    assert len(tables) == 1
    monkeypatch.setattr(accel_clf.inference.predictor, "can_share_base", lambda *_: False)
    merged = Predictor(folds, precision, low_latency=low_latency)
    tolerance = 1e-6 if precision == "fp32" else 2e-2
    answers = [np.array([scores for _, scores in p.predict(TEXTS)]) for p in (shared, merged)]
    np.testing.assert_allclose(*answers, atol=tolerance)
    rows = [np.array(shared.tokenizer(text)["input_ids"]) for text in TEXTS]
    per_model = [predictor.logits_batch(rows) for predictor in (shared, merged)]
    np.testing.assert_allclose(*per_model, atol=10 * tolerance)
    assert np.ptp(per_model[0], axis=1).max() > 100 * 1e-6, "folds differ"
    np.testing.assert_array_equal(shared.logits_batch(rows), per_model[0])


def test_a_fold_answers_alone(folds: Path) -> None:
    alone, together = Predictor(folds / "fold-1"), Predictor(folds)
    rows = [np.array(alone.tokenizer(text)["input_ids"]) for text in TEXTS]
    assert not isinstance(alone.models[0], AdaptedModel)
    np.testing.assert_allclose(together.logits_batch(rows)[:, 1], alone.logits_batch(rows)[:, 0], atol=1e-5)


@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
def test_int8_takes_the_merged_models(folds: Path) -> None:
    predictor = Predictor(folds, "int8")
    assert not any(isinstance(model, AdaptedModel) for model in predictor.models)
    assert len(predictor.models) == 3


def test_adapters_of_another_base_are_not_shared(
    folds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = [scores for _, scores in Predictor(folds).predict(TEXTS)]
    other = shutil.copytree(folds, tmp_path / "cv")
    (other / "fold-2" / "adapter" / "base.json").write_text(json.dumps({"digest": "another"}))
    predictor = Predictor(other)
    assert "the folds' adapters are not of one model" in capsys.readouterr().err
    assert not any(isinstance(model, AdaptedModel) for model in predictor.models)
    np.testing.assert_allclose([scores for _, scores in predictor.predict(TEXTS)], expected, atol=1e-6)
    shutil.rmtree(other / "fold-2" / "adapter")
    assert not any(isinstance(model, AdaptedModel) for model in Predictor(other).models)


def test_no_gradients_are_switched_on(folds: Path) -> None:
    predictor = Predictor(folds)
    list(predictor.predict(TEXTS))
    with torch.inference_mode():
        predictor.logits_batch([np.array([2, 3, 4])])
    model = predictor.models[0].model
    adapters = [parameter for name, parameter in model.named_parameters() if "lora_" in name]  # type: ignore[union-attr, operator]
    assert adapters and not any(parameter.requires_grad for parameter in adapters)
