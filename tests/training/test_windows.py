"""Runs on long texts in windows: what the end tells is learned; all commands read them as training does."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

import accel_clf
from accel_clf.cli.main import main
from accel_clf.config.load import load
from accel_clf.core.errors import ConfigError
from accel_clf.models.windows import ATTENTION
from accel_clf.training.run import train
from tests.conftest import read_csv, write_csv
from tests.serving.harness import serving

FILLER = "the soup was there " * 12


def settings(model: str | Path, table: Path, output: Path, windows: dict[str, Any], **sections: Any) -> dict[str, Any]:
    return {
        "model": {"name": str(model)},
        "data": {"train": str(table), "validation": 0.2, "max_length": 16, "windows": windows},
        "training": {"epochs": 5, "learning_rate": 3e-3, "precision": "fp32"},
        "batch": {"size": 16},
        "evaluation": {"baseline": False},
        "output": str(output),
        **sections,
    }


@pytest.fixture(scope="module")
def long_texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts of 50 words, of which the last tells the label."""
    rows = [(f"{FILLER}{word}", word) for word in ("superb", "dull") * 100]
    return write_csv(tmp_path_factory.mktemp("long") / "long.csv", rows)


@pytest.fixture(scope="module")
def trained(long_texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("windows") / "run"
    train(load(None, settings("demo", long_texts, output, {"stride": 4})))
    return output


def test_what_only_the_end_tells_is_learned(trained: Path) -> None:
    results = json.loads((trained / "metrics.json").read_text())
    assert results["validation"]["accuracy"] == 1.0
    assert results["validation"]["rows"] == 40, "a text is one row, whatever its windows"


def test_all_commands_read_windows(trained: Path, long_texts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = [f"{FILLER}superb", "dull", FILLER * 12 + "dull"]
    answers = accel_clf.load(trained).predict(texts)
    assert [answer["label"] for answer in answers[:2]] == ["superb", "dull"]
    assert main(["evaluate", str(trained), "--data", str(long_texts), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] == 1.0
    with serving(trained, trained.parent, "--precision", "fp32") as server:
        answer = server.predict(texts)
        for of_text, expected in zip(answer.json, answers, strict=True):
            scores = {item["label"]: item["score"] for item in of_text}
            assert scores == pytest.approx(expected["scores"], abs=1e-5)
        assert answer.headers["X-Truncated"] == "2", "only of the last are windows left out"


def test_texts_that_fit_give_the_same_bits(reviews: Path, tiny_bert: Path, tmp_path: Path) -> None:
    weights = []
    for name, windows in (("cut", {}), ("windows", {"stride": 8})):
        run = settings(tiny_bert, reviews, tmp_path / name, windows, training={"precision": "fp32"})
        run["data"] |= {"max_length": 64, "test": str(reviews)}
        train(load(None, run))
        weights.append(load_file(tmp_path / name / "model" / "model.safetensors"))
    assert all(np.array_equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert read_csv(tmp_path / "cut" / "predictions.csv") == read_csv(tmp_path / "windows" / "predictions.csv")


def test_attention_is_learned_saved_and_read_back(long_texts: Path, tmp_path: Path) -> None:
    """Also through the temperature, for which the model is written a second time."""
    run = settings("demo", long_texts, tmp_path / "run", {"stride": 4, "pool": "attention"})
    run |= {"target": {"calibration": "temperature"}}
    run["data"] |= {"test": str(long_texts)}
    assert train(load(None, run))["validation"]["accuracy"] == 1.0
    assert load_file(tmp_path / "run" / "model" / "model.safetensors")[ATTENTION].abs().max() > 0.01
    rows, texts = read_csv(tmp_path / "run" / "predictions.csv")[:4], read_csv(long_texts)[:4]
    for row, answer in zip(rows, accel_clf.load(tmp_path / "run").predict([row["text"] for row in texts]), strict=True):
        assert answer["score"] == pytest.approx(float(row[f"score:{row['predicted']}"]), abs=1e-6)


def test_batches_of_few_shapes_are_refused(long_texts: Path, tmp_path: Path) -> None:
    run = settings("demo", long_texts, tmp_path / "run", {"stride": 4}, batch={"layout": "bucketed"})
    with pytest.raises(ConfigError, match="bucketed batches"):
        train(load(None, run))
