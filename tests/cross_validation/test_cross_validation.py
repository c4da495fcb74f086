"""Cross-validation: every row is held out once, folds can be trained separately, and their models form an ensemble."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from accel_clf.config.load import load
from accel_clf.core.errors import UserError
from accel_clf.core.exit_codes import USAGE
from accel_clf.cross_validation.run import collect, cross_validate
from accel_clf.inference.predictor import Predictor
from accel_clf.run_folder.lock import lock_folder
from tests.conftest import read_csv, write_csv
from tests.cross_validation.conftest import config_for, make_settings

Refused = Callable[..., str]


@pytest.fixture(scope="module")
def cv(settings: dict[str, Any]) -> Path:
    """Three folds of sentences in three languages; translations of a sentence share a fold."""
    cross_validate(load(None, settings))
    return Path(settings["output"])


def contents(folder: Path) -> dict[str, bytes]:
    """Read a fold's results: all but its times and environment."""
    names = ("held_out.csv", "predictions.csv", "model/model.safetensors", "model/config.json", "model/tokenizer.json")
    return {name: (folder / name).read_bytes() for name in names}


def test_every_row_is_held_out_once(cv: Path, translations: Path) -> None:
    rows, out_of_fold = read_csv(translations), read_csv(cv / "out_of_fold.csv")
    assert [int(row["row"]) for row in out_of_fold] == list(range(len(rows)))
    assert [row["label"] for row in out_of_fold] == [row["label"] for row in rows]
    assert [row["slice"] for row in out_of_fold] == [row["lang"] for row in rows]
    logits = torch.tensor([[float(row["logit:bad"]), float(row["logit:good"])] for row in out_of_fold])
    scores = np.array([[float(row["score:bad"]), float(row["score:good"])] for row in out_of_fold])
    assert np.allclose(logits.double().softmax(dim=1), scores, atol=1e-12)
    assert [row["predicted"] for row in out_of_fold] == [("bad", "good")[code] for code in scores.argmax(axis=1)]
    held_out = json.loads((cv / "folds.json").read_text())["held_out"]
    assert [int(row["fold"]) for row in out_of_fold] == [
        next(fold for fold, ids in enumerate(held_out) if number in ids) for number in range(len(rows))
    ]


def test_translations_share_a_fold(cv: Path, translations: Path) -> None:
    folds_of: dict[str, set[str]] = {}
    for row, prediction in zip(read_csv(translations), read_csv(cv / "out_of_fold.csv"), strict=True):
        folds_of.setdefault(row["id"], set()).add(prediction["fold"])
    assert {len(folds) for folds in folds_of.values()} == {1}


def test_metrics_of_folds_and_slices(cv: Path) -> None:
    rows, metrics = read_csv(cv / "out_of_fold.csv"), json.loads((cv / "metrics.json").read_text())
    correct = np.array([row["label"] == row["predicted"] for row in rows])
    fold, language = np.array([int(row["fold"]) for row in rows]), np.array([row["slice"] for row in rows])
    by_fold = [correct[fold == number].mean() for number in range(3)]
    assert [fold_metrics["accuracy"] for fold_metrics in metrics["each"]] == pytest.approx(by_fold)
    assert metrics["mean"]["accuracy"] == pytest.approx(np.mean(by_fold))
    assert metrics["spread"]["accuracy"] == pytest.approx(np.std(by_fold, ddof=1))
    assert metrics["out_of_fold"]["accuracy"] == pytest.approx(correct.mean())
    assert metrics["out_of_fold"]["slices"]["de"]["accuracy"] == pytest.approx(correct[language == "de"].mean())
    hindi_by_fold = [correct[(fold == number) & (language == "hi")].mean() for number in range(3)]
    assert metrics["slices"]["hi"]["mean"]["accuracy"] == pytest.approx(np.mean(hindi_by_fold))
    assert metrics["slices"]["hi"]["spread"]["accuracy"] == pytest.approx(np.std(hindi_by_fold, ddof=1))
    assert sum(class_metrics["rows"] for class_metrics in metrics["out_of_fold"]["per_class"].values()) == 249
    assert "seconds" not in str(metrics)


def test_folds_trained_separately_give_the_same_files(cv: Path, settings: dict[str, Any], tmp_path: Path) -> None:
    """Byte for byte, as on several machines that share a folder, the last fold first."""
    config = config_for(settings, tmp_path / "cv")
    assert cross_validate(config, 2) == {}
    assert contents(tmp_path / "cv" / "fold-2") == contents(cv / "fold-2")
    with pytest.raises(UserError, match="folds 0, 1 are not finished"):
        collect(config)
    assert cross_validate(config, 0) == {}
    assert cross_validate(config, 1)["folds"] == 3
    collect(config)
    for name in ("metrics.json", "out_of_fold.csv", "suspect_labels.csv", "predictions.csv", "folds.json"):
        assert (tmp_path / "cv" / name).read_bytes() == (cv / name).read_bytes()


def test_finished_folds_are_left_alone(
    cv: Path, settings: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "cv"
    shutil.copytree(cv, copy)
    config = config_for(settings, copy)
    mtimes = {path: path.stat().st_mtime_ns for path in copy.rglob("*")}
    assert cross_validate(config)["folds"] == 3
    assert "is finished" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in copy.rglob("*")} == mtimes
    shutil.rmtree(copy / "fold-1")
    cross_validate(config)
    others = {path for path in mtimes if "fold-1" not in path.parts and path.is_file() and path.parent != copy}
    assert {path: path.stat().st_mtime_ns for path in others} == {path: mtimes[path] for path in others}
    assert (copy / "metrics.json").read_bytes() == (cv / "metrics.json").read_bytes()


def test_ensemble_is_the_mean_of_its_models(cv: Path, translations: Path) -> None:
    """Compared with transformers alone, one text at a time: XLM-R's tokenizer, positions and head included."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    texts = [row["text"] for row in read_csv(translations)][:40]
    temperature = json.loads((cv / "metrics.json").read_text())["calibration"]["temperature"]
    tokenizer = AutoTokenizer.from_pretrained(cv / "fold-0" / "model")
    assert type(tokenizer).__name__ == "XLMRobertaTokenizer"
    expected = torch.zeros(len(texts), 2, dtype=torch.float64)
    with torch.no_grad():
        for fold in range(3):
            model = AutoModelForSequenceClassification.from_pretrained(cv / f"fold-{fold}" / "model").eval()
            assert type(model).__name__ == "XLMRobertaForSequenceClassification"
            inputs = [tokenizer(text, truncation=True, max_length=48, return_tensors="pt") for text in texts]
            logits = torch.cat([model(**encoded).logits for encoded in inputs])
            expected += (logits.double() / temperature).softmax(dim=1) / 3
    predictor = Predictor(cv)
    assert predictor.target.names == ("bad", "good")
    scores = [scores for _, scores in predictor.predict(texts)]
    assert np.allclose(np.array(scores), expected.numpy(), atol=1e-5)


def test_ensemble_is_evaluated_on_the_test_set(cv: Path, translations: Path) -> None:
    test = json.loads((cv / "metrics.json").read_text())["test"]
    predictions = read_csv(cv / "predictions.csv")
    expected = [float(scores[1]) for _, scores in Predictor(cv).predict(row["text"] for row in read_csv(translations))]
    assert np.allclose([float(row["score:good"]) for row in predictions], expected, atol=1e-5)
    accuracy = np.mean([row["label"] == row["predicted"] for row in predictions])
    assert test["ensemble"]["accuracy"] == pytest.approx(accuracy)
    assert len(test["each"]) == 3
    assert test["ensemble"]["log_loss"] < test["mean"]["log_loss"]


def test_predict_and_evaluate_take_the_ensemble(
    cv: Path, translations: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from accel_clf.cli.main import main

    row, expected = read_csv(translations)[0], read_csv(cv / "predictions.csv")[0]
    assert main(["predict", str(cv), row["text"], "--json"]) == 0
    prediction = json.loads(capsys.readouterr().out)
    assert prediction["label"] == expected["predicted"]
    assert prediction["score"] == pytest.approx(float(expected["score"]), abs=1e-5)
    assert main(["evaluate", str(cv), "--data", str(translations), "--json"]) == 0
    metrics = json.loads(capsys.readouterr().out)
    test = json.loads((cv / "metrics.json").read_text())["test"]
    assert metrics["accuracy"] == test["ensemble"]["accuracy"]
    assert metrics["models"]["mean"] == pytest.approx(test["mean"])
    assert main(["evaluate", str(cv), "--data", str(translations)]) == 0
    assert "its 3 models alone: accuracy 0." in capsys.readouterr().out


def test_swapped_labels_are_suspected(tiny_xlmr: Path, translations: Path, tmp_path: Path) -> None:
    rows = read_csv(translations)
    swapped = sorted(np.random.default_rng(0).choice(len(rows), len(rows) * 4 // 100, replace=False).tolist())
    other = {"good": "bad", "bad": "good"}
    for number in swapped:
        rows[number]["label"] = other[rows[number]["label"]]
    columns = ("text", "label", "lang", "id")
    path = write_csv(tmp_path / "rows.csv", [tuple(row[name] for name in columns) for row in rows], columns)
    settings = make_settings(tiny_xlmr, path, tmp_path / "cv", folds=5, batch={"size": 8})
    settings["data"]["validation"], settings["training"] = None, {"epochs": 10, "learning_rate": 3e-3}
    cross_validate(load(None, settings))
    suspects = read_csv(tmp_path / "cv" / "suspect_labels.csv")
    probabilities = [float(row["probability_of_label"]) for row in suspects]
    assert probabilities == sorted(probabilities)
    assert all(row["label"] != row["predicted"] for row in suspects)
    assert [rows[int(row["row"])]["text"] for row in suspects] == [row["text"] for row in suspects]
    most_suspect = {int(row["row"]) for row in suspects[: len(swapped)]}
    assert len(most_suspect & set(swapped)) >= 0.6 * len(swapped)
    assert {row["issue"] for row in suspects[:3]} == {"true"}


def test_folder_of_something_else_is_refused(
    cv: Path, run: Path, settings: dict[str, Any], tmp_path: Path, refused: Refused
) -> None:
    args = ["--model.name", settings["model"]["name"], "--data.train", settings["data"]["train"], "--output"]
    assert "not a cross-validation's" in refused(USAGE, "cv", *args, run)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("")
    assert "thesis.tex" in refused(USAGE, "cv", *args, tmp_path / "other")
    assert "is a file" in refused(USAGE, "cv", *args, settings["data"]["train"])
    assert "data.max_length 48 -> 256" in refused(USAGE, "cv", *args, cv)
    assert "holds files that are not a run's" in refused(USAGE, "train", *args, cv)


def test_incompatible_flags_are_refused(refused: Refused, cv: Path) -> None:
    assert "--fold 5" in refused(USAGE, "cv", "--fold", "5")
    assert "leave one out" in refused(USAGE, "cv", "--fold", "1", "--collect")
    assert "resume is" in refused(USAGE, "cv", "--resume", cv)
    assert "what is set aside is the whole folder" in refused(USAGE, "cv", "--resume", "never", "--fold", "1")
    assert "folds 0, 1, 2, 3, 4 are not finished" in refused(1, "cv", "--collect", "--output", cv / "nowhere")
    assert "--fold" in refused(USAGE, "cv", "--fold", "one")


def test_fold_in_use_is_not_touched(settings: dict[str, Any], tmp_path: Path) -> None:
    config = config_for(settings, tmp_path / "cv")
    (tmp_path / "cv" / "fold-1").mkdir(parents=True)
    lock = lock_folder(tmp_path / "cv" / "fold-1")
    try:
        with pytest.raises(UserError, match="fold-1 is in use by another run"):
            cross_validate(config)
    finally:
        lock.release()
    assert sorted(path.name for path in (tmp_path / "cv").iterdir()) == ["fold-1"]


def test_resume_never_sets_the_whole_folder_aside(cv: Path, settings: dict[str, Any], tmp_path: Path) -> None:
    copy = tmp_path / "cv"
    shutil.copytree(cv, copy)
    results = cross_validate(config_for({**settings, "resume": "never", "training": {"epochs": 1}}, copy))
    assert results["folds"] == 3
    assert (tmp_path / "cv.1" / "metrics.json").read_bytes() == (cv / "metrics.json").read_bytes()


@pytest.mark.parametrize("damage", ["missing", "truncated", "duplicated"])
def test_damaged_held_out_predictions_are_refused(
    cv: Path, settings: dict[str, Any], tmp_path: Path, damage: str
) -> None:
    copy = tmp_path / "cv"
    shutil.copytree(cv, copy)
    path = copy / "fold-1" / "held_out.csv"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[:-1] if damage == "truncated" else [*lines, lines[-1]]), encoding="utf-8")
    if damage == "missing":
        path.unlink()
    with pytest.raises(UserError, match=r"fold-1.held_out\.csv"):
        collect(config_for(settings, copy))
