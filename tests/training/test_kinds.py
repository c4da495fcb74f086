"""Runs of every kind of target: what the folder says, pipelines compute, `predict` answers; stopped, and in folds."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file
from transformers import pipeline

import accel_clf
from accel_clf.config.load import load
from accel_clf.core.errors import DataError, Interrupted
from accel_clf.run_folder.predictions import PREDICTION_FILES
from accel_clf.training.run import train
from tests.conftest import read_csv, write_csv

KINDS: dict[str, dict[str, Any]] = {
    "multi_label": {
        "data": {"label": ["positive", "soup", "never"]},
        "target": {"thresholds": "f1", "calibration": "temperature"},
    },
    "ordinal": {"data": {"label": "grade"}, "target": {"type": "ordinal", "order": ["bad", "fair", "good"]}},
    "regression": {"data": {"label": "stars"}, "target": {"type": "regression"}},
    "single_label": {"data": {"label": "positive"}, "target": {"calibration": "temperature"}},
}


def settings_of(kind: str, table: Path, tiny_bert: Path, output: Path) -> dict[str, Any]:
    settings = KINDS[kind]
    return {
        "model": {"name": str(tiny_bert)},
        "data": {"train": str(table), "test": str(table), "validation": 0.25, "max_length": 64, **settings["data"]},
        "target": settings["target"],
        "training": {"epochs": 3, "learning_rate": 3e-3, "precision": "fp32"},
        "evaluation": {"baseline": True},
        "output": str(output),
    }


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def trained(kind: str, table: Path, tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(kind) / "run"
    train(load(None, settings_of(kind, table, tiny_bert, folder)))
    return folder


def test_pipelines_compute_the_same(kind: str, trained: Path) -> None:
    """By transformers alone, from the folder alone, with its temperature, in the number's own unit."""
    rows = read_csv(trained / "predictions.csv")
    texts = [row["text"] for row in read_csv(Path(load(trained / "config.yaml", {}).data.train))]
    classify = pipeline("text-classification", model=str(trained / "model"), top_k=None, device="cpu")
    answers = [{item["label"]: item["score"] for item in answer} for answer in classify(texts[:50])]
    if kind == "regression":
        ours = [{"stars": float(row["predicted"])} for row in rows[:50]]
        assert np.mean([answer["stars"] for answer in answers]) == pytest.approx(1060, abs=40)
    elif kind == "ordinal":  # whose steps it knows, not its labels
        logits = np.array([[float(row[f"logit:above {name}"]) for name in ("bad", "fair")] for row in rows[:50]])
        steps = 1 / (1 + np.exp(-logits))
        ours = [{"above bad": row[0], "above fair": row[1]} for row in steps.tolist()]
    else:
        names = [column.removeprefix("score:") for column in rows[0] if column.startswith("score:")]
        ours = [{name: float(row[f"score:{name}"]) for name in names} for row in rows[:50]]
    for expected, answer in zip(ours, answers, strict=True):
        assert answer == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_folder_says_what_is_predicted(kind: str, trained: Path) -> None:
    config = load(trained / "config.yaml", {})
    assert config.target.type == kind
    assert (config.evaluation.metric == "accuracy") == (kind == "single_label")
    results = json.loads((trained / "metrics.json").read_text())
    metric = {"multi_label": "micro_f1", "ordinal": "accuracy_within_one", "regression": "spearman"}.get(
        kind, "accuracy"
    )
    assert results["test"][metric] > (0.2 if kind == "regression" else 0.5)
    assert set(results["baseline"]) <= set(results["test"])
    if kind in ("multi_label", "single_label"):
        assert results["calibration"]["temperature"] > 0
        assert set(results["calibration"]["brier"]) == {"before", "after"}
    if kind == "multi_label":
        thresholds = [of["threshold"] for of in results["test"]["per_class"].values()]
        assert len(set(thresholds)) == 3
        options = json.loads((trained / "model" / "config.json").read_text())["accel_clf"]
        assert options["thresholds"] == thresholds


def test_predictions_are_those_of_the_test_rows(kind: str, trained: Path) -> None:
    run, rows = accel_clf.load(trained), read_csv(trained / "predictions.csv")[:20]
    texts = [row["text"] for row in read_csv(Path(run.config.data.train))][:20]
    for row, answer in zip(rows, run.predict(texts), strict=True):
        if kind == "regression":
            assert answer["value"] == pytest.approx(float(row["predicted"]), rel=1e-5)
        elif kind == "multi_label":
            assert "|".join(answer["labels"]) == row["predicted"]
        else:
            assert (answer["label"], answer["score"]) == (
                row["predicted"],
                pytest.approx(float(row["score"]), abs=1e-5),
            )
    metrics = run.evaluate(run.config.data.train)
    results = json.loads((trained / "metrics.json").read_text())["test"]
    assert metrics.values == pytest.approx({name: results[name] for name in metrics.values}, abs=1e-4)


def test_stopped_run_ends_the_same(
    kind: str, trained: Path, table: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import accel_clf.training.loop

    step, steps = accel_clf.training.loop.train_step, [0]

    def stopped_step(*args: Any) -> Any:
        steps[0] += 1
        if steps[0] == 30:
            monkeypatch.setattr("accel_clf.core.signals.stop_signal", lambda: 15)
        return step(*args)

    settings = settings_of(kind, table, tiny_bert, tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(accel_clf.training.loop, "train_step", stopped_step)
        with pytest.raises(Interrupted):
            train(load(None, settings))
    monkeypatch.setattr("accel_clf.core.signals.stop_signal", lambda: 0)
    train(load(None, settings))
    for name in ("model/model.safetensors", "model/config.json", "predictions.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (trained / name).read_bytes(), name


def test_folds_of_every_kind(kind: str, table: Path, tiny_bert: Path, tmp_path: Path) -> None:
    settings = settings_of(kind, table, tiny_bert, tmp_path / "cv") | {"folds": 3}
    settings["data"]["calibration"] = 0.2
    run = accel_clf.cross_validate(settings)
    results = run.metrics
    rows = read_csv(run.path / "out_of_fold.csv")
    assert len(rows) == 403 - len(read_csv(run.path / PREDICTION_FILES["calibration"]))
    decided = [row["label"] == row["predicted"] for row in rows]
    if kind == "multi_label":
        assert np.mean(decided) == pytest.approx(results["out_of_fold"]["subset_accuracy"])
        assert set(results["thresholds"]) == {"positive", "soup", "never"}
    elif kind != "regression":
        assert np.mean(decided) == pytest.approx(results["out_of_fold"]["accuracy"])
    suspects = read_csv(run.path / "suspect_labels.csv")
    assert len(suspects) == results["suspect_labels"]["listed"]
    [answer] = run.predict("the soup was never dull")
    assert set(answer) <= {"label", "labels", "score", "scores", "value"}
    predictions = read_csv(run.path / "predictions.csv")
    assert len(predictions) == 403
    assert "ensemble" in results["test"]


def test_a_number_keeps_its_unit_when_training_goes_on(table: Path, tiny_bert: Path, tmp_path: Path) -> None:
    """A trained model's head answers in stars: training begins where it ended."""
    settings = settings_of("regression", table, tiny_bert, tmp_path / "first")
    first = train(load(None, settings))
    settings |= {"model": {"name": str(tmp_path / "first" / "model")}, "output": str(tmp_path / "second")}
    settings["training"] = {"epochs": 1, "learning_rate": 1e-12, "precision": "fp32"}
    second = train(load(None, settings))
    assert second["test"]["rmse"] == pytest.approx(first["test"]["rmse"], rel=1e-4)
    weights = [load_file(tmp_path / run / "model" / "model.safetensors") for run in ("first", "second")]
    for name in weights[0]:
        assert np.allclose(weights[0][name], weights[1][name], rtol=1e-4, atol=1e-4), name


FORMS: dict[str, tuple[list[tuple[str, str]], dict[str, Any]]] = {
    "lists": ([("a", '["x", "y"]'), ("b", "[]"), ("c", '["y"]')], {}),
    "separated": ([("a", "x; y"), ("b", ""), ("c", "y")], {"label_separator": ";"}),
}


@pytest.mark.parametrize("form", FORMS)
def test_several_labels_in_one_cell(form: str, tmp_path: Path) -> None:
    from accel_clf.config.schema import DataConfig
    from accel_clf.data.sources import read_dataset

    rows, settings = FORMS[form]
    data = DataConfig.model_validate(settings)
    dataset = read_dataset(str(write_csv(tmp_path / "rows.csv", rows)), data, split="train")
    assert dataset.target.kind == "multi_label"
    assert dataset.target.names == ("x", "y")
    assert dataset.labels.tolist() == [[1, 1], [0, 0], [0, 1]]
    path = tmp_path / "other.csv"
    cell = '["z"]' if form == "lists" else "x;z"
    write_csv(path, [("a", rows[0][1]), ("b", cell)])
    with pytest.raises(DataError, match=r"other\.csv, line 3: label 'z'"):
        read_dataset(str(path), data, split="test", target=dataset.target)


def test_file_without_rows_is_refused_whatever_is_predicted(tmp_path: Path) -> None:
    from accel_clf.config.schema import DataConfig
    from accel_clf.data.sources import read_dataset
    from accel_clf.targets.single_label import SingleLabel

    empty = write_csv(tmp_path / "empty.csv", [])
    for target in (None, SingleLabel(("a", "b"))):
        with pytest.raises(DataError, match=r"empty\.csv: no rows below the header"):
            read_dataset(str(empty), DataConfig(), split="test", target=target)


def test_label_in_validation_rows_only_is_named_with_its_place(table: Path, tiny_bert: Path, tmp_path: Path) -> None:
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    rows[7][2] = "2"
    bad = tmp_path / "bad.csv"
    with bad.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    settings = settings_of("multi_label", table, tiny_bert, tmp_path / "run")
    settings["data"]["validation"] = str(bad)
    with pytest.raises(DataError, match=r"bad\.csv, line 8: column 'soup' is '2'"):
        train(load(None, settings))
