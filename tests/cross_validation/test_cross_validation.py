"""Cross-validation: every row once out of fold, folds that do not depend on each other, and their ensemble."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from accel_clf.config.load import load
from accel_clf.config.schema import Config
from accel_clf.core.errors import DataError, UserError
from accel_clf.core.exit_codes import DATA, USAGE
from accel_clf.cross_validation.folds import Folds, fold_config
from accel_clf.cross_validation.run import collect, cross_validate
from accel_clf.data import splitting
from accel_clf.inference.predictor import Predictor
from accel_clf.run_folder.lock import lock_folder
from tests.conftest import make_xlmr, read_csv, write_csv

Refused = Callable[..., str]


def flags(model: Path, rows: Path, output: Path, **more: Any) -> dict[str, Any]:
    return {
        "model": {"name": str(model)},
        "data": {"train": str(rows), "group": "id", "slice": "lang", "max_length": 48, "validation": 0.2},
        "training": {"epochs": 4, "learning_rate": 2e-3, "precision": "fp32"},  # as `predict` has it
        "folds": 3,
        "output": str(output),
        **more,
    }


@pytest.fixture(scope="module")
def settings(tiny_xlmr: Path, translations: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    found = flags(tiny_xlmr, translations, tmp_path_factory.mktemp("cv") / "whole")
    return {**found, "data": {**found["data"], "test": str(translations)}}


@pytest.fixture(scope="module")
def cv(settings: dict[str, Any]) -> Path:
    """Three folds of sentences in three languages, whose translations never part."""
    cross_validate(load(None, settings))
    return Path(settings["output"])


def at(settings: dict[str, Any], output: Path) -> Config:
    return load(None, {**settings, "output": str(output)})


def contents(folder: Path) -> dict[str, bytes]:
    """What a fold's result is: all but times and where it was trained."""
    names = ("held_out.csv", "predictions.csv", "model/model.safetensors", "model/config.json", "model/tokenizer.json")
    return {name: (folder / name).read_bytes() for name in names}


def test_every_row_once_out_of_fold(cv: Path, translations: Path) -> None:
    rows, found = read_csv(translations), read_csv(cv / "out_of_fold.csv")
    assert [int(row["row"]) for row in found] == list(range(len(rows)))
    assert [row["label"] for row in found] == [row["label"] for row in rows]
    assert [row["slice"] for row in found] == [row["lang"] for row in rows]
    logits = torch.tensor([[float(row["logit:bad"]), float(row["logit:good"])] for row in found])
    scores = np.array([[float(row["score:bad"]), float(row["score:good"])] for row in found])
    assert np.allclose(logits.double().softmax(dim=1), scores, atol=1e-12)
    assert [row["predicted"] for row in found] == [("bad", "good")[code] for code in scores.argmax(axis=1)]
    held_out = json.loads((cv / "folds.json").read_text())["held_out"]
    assert [int(row["fold"]) for row in found] == [
        next(fold for fold, ids in enumerate(held_out) if number in ids) for number in range(len(rows))
    ]


def test_translations_never_part(cv: Path, translations: Path) -> None:
    folds_of: dict[str, set[str]] = {}
    for row, found in zip(read_csv(translations), read_csv(cv / "out_of_fold.csv"), strict=True):
        folds_of.setdefault(row["id"], set()).add(found["fold"])
    assert {len(folds) for folds in folds_of.values()} == {1}


def test_no_training_row_is_a_held_out_one(settings: dict[str, Any]) -> None:
    """In none of a fold's parts, and none of its groups."""
    folds = Folds(load(None, settings))
    for fold in range(3):
        parts = folds.prepare(fold).splits
        assert parts.validation and parts.held_out and parts.held_out.groups
        inside = np.concatenate([parts.train.ids, parts.validation.ids])
        assert np.array_equal(np.sort(np.concatenate([inside, parts.held_out.ids])), np.arange(249))
        for rows in (parts.train, parts.validation):
            assert rows.groups
            assert not set(rows.groups.codes) & set(parts.held_out.groups.codes)
        tokens = folds.prepare(fold).tokens["held_out"]
        assert len(tokens) == len(parts.held_out)


def test_a_planted_leak_is_caught(settings: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deal = splitting.folds

    def leaky(*given: Any) -> np.ndarray:
        fold = deal(*given)
        fold[7] = (fold[7] + 1) % 3
        return fold

    monkeypatch.setattr(splitting, "folds", leaky)
    with pytest.raises(DataError, match=r"1 of 83 groups are in two folds or more, 's\d+' first"):
        cross_validate(at(settings, tmp_path / "cv"))
    assert not (tmp_path / "cv").exists()


def test_metrics_of_folds_and_slices(cv: Path) -> None:
    found, metrics = read_csv(cv / "out_of_fold.csv"), json.loads((cv / "metrics.json").read_text())
    right = np.array([row["label"] == row["predicted"] for row in found])
    fold, language = np.array([int(row["fold"]) for row in found]), np.array([row["slice"] for row in found])
    of_folds = [right[fold == number].mean() for number in range(3)]
    assert [each["accuracy"] for each in metrics["each"]] == pytest.approx(of_folds)
    assert metrics["mean"]["accuracy"] == pytest.approx(np.mean(of_folds))
    assert metrics["spread"]["accuracy"] == pytest.approx(np.std(of_folds, ddof=1))
    assert metrics["out_of_fold"]["accuracy"] == pytest.approx(right.mean())
    assert metrics["out_of_fold"]["slices"]["de"]["accuracy"] == pytest.approx(right[language == "de"].mean())
    in_hindi = [right[(fold == number) & (language == "hi")].mean() for number in range(3)]
    assert metrics["slices"]["hi"]["mean"]["accuracy"] == pytest.approx(np.mean(in_hindi))
    assert metrics["slices"]["hi"]["spread"]["accuracy"] == pytest.approx(np.std(in_hindi, ddof=1))
    assert sum(row["rows"] for row in metrics["out_of_fold"]["per_class"].values()) == 249
    assert "seconds" not in str(metrics)


def test_a_fold_alone_is_that_of_the_whole(cv: Path, settings: dict[str, Any], tmp_path: Path) -> None:
    """On machines of their own, into one folder, the last first; the results are the whole's, byte for byte."""
    config = at(settings, tmp_path / "cv")
    assert cross_validate(config, 2) == {}
    assert contents(tmp_path / "cv" / "fold-2") == contents(cv / "fold-2")
    with pytest.raises(UserError, match="folds 0, 1 are not finished"):
        collect(config)
    assert cross_validate(config, 0) == {}
    assert cross_validate(config, 1)["folds"] == 3
    collect(config)
    for name in ("metrics.json", "out_of_fold.csv", "suspect_labels.csv", "predictions.csv", "folds.json"):
        assert (tmp_path / "cv" / name).read_bytes() == (cv / name).read_bytes()


def test_what_is_finished_is_left_alone(
    cv: Path, settings: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "cv"
    shutil.copytree(cv, copy)
    config = at(settings, copy)
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*")}
    assert cross_validate(config)["folds"] == 3
    assert "is finished" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in copy.rglob("*")} == before
    shutil.rmtree(copy / "fold-1")
    cross_validate(config)
    others = {path for path in before if "fold-1" not in path.parts and path.is_file() and path.parent != copy}
    assert {path: path.stat().st_mtime_ns for path in others} == {path: before[path] for path in others}
    assert (copy / "metrics.json").read_bytes() == (cv / "metrics.json").read_bytes()


def test_folds_differ_in_more_than_rows(settings: dict[str, Any]) -> None:
    config = load(None, settings)
    assert len({fold_config(config, fold).training.seed for fold in range(5)}) == 5
    other = config.model_copy(update={"training": config.training.model_copy(update={"seed": 1})})
    assert fold_config(config, 1).training.seed != fold_config(other, 1).training.seed


def test_the_ensemble_is_the_mean_of_its_models(cv: Path, translations: Path) -> None:
    """By transformers alone, a text at a time; the tokenizer, positions and head of XLM-R among it."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    texts = [row["text"] for row in read_csv(translations)][:40]
    temperature = json.loads((cv / "metrics.json").read_text())["calibration"]["temperature"]
    tokenizer = AutoTokenizer.from_pretrained(cv / "fold-0" / "model")
    assert type(tokenizer).__name__ == "XLMRobertaTokenizer"
    wanted = torch.zeros(len(texts), 2, dtype=torch.float64)
    with torch.no_grad():
        for fold in range(3):
            model = AutoModelForSequenceClassification.from_pretrained(cv / f"fold-{fold}" / "model").eval()
            assert type(model).__name__ == "XLMRobertaForSequenceClassification"
            logits = [model(**tokenizer(text, truncation=True, max_length=48, return_tensors="pt")) for text in texts]
            wanted += (torch.cat([one.logits for one in logits]).double() / temperature).softmax(dim=1) / 3
    predictor = Predictor(cv)
    assert predictor.labels == ("bad", "good")
    found = [answer for _, answer in predictor.predict(texts)]
    assert np.allclose(np.array(found), wanted.numpy(), atol=1e-5)


def test_the_test_set_is_measured_by_the_ensemble(cv: Path, translations: Path) -> None:
    test = json.loads((cv / "metrics.json").read_text())["test"]
    answers = read_csv(cv / "predictions.csv")
    found = list(Predictor(cv).predict([row["text"] for row in read_csv(translations)]))
    assert np.allclose(
        [float(row["score:good"]) for row in answers], [float(scores[1]) for _, scores in found], atol=1e-5
    )
    right = np.mean([row["label"] == row["predicted"] for row in answers])
    assert test["ensemble"]["accuracy"] == pytest.approx(right)
    assert len(test["each"]) == 3
    assert test["ensemble"]["log_loss"] < test["mean"]["log_loss"]


def test_commands(cv: Path, translations: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from accel_clf.cli.main import main

    row, answer = read_csv(translations)[0], read_csv(cv / "predictions.csv")[0]
    assert main(["predict", str(cv), row["text"], "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["label"] == answer["predicted"]
    assert said["score"] == pytest.approx(float(answer["score"]), abs=1e-5)
    assert main(["evaluate", str(cv), "--data", str(translations), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    test = json.loads((cv / "metrics.json").read_text())["test"]
    assert found["accuracy"] == test["ensemble"]["accuracy"]
    assert found["models"]["mean"] == pytest.approx(test["mean"])
    assert main(["evaluate", str(cv), "--data", str(translations)]) == 0
    assert "its 3 models alone: accuracy 0." in capsys.readouterr().out


def test_suspects_are_the_swapped_labels(tiny_xlmr: Path, translations: Path, tmp_path: Path) -> None:
    rows = read_csv(translations)
    swapped = sorted(np.random.default_rng(0).choice(len(rows), len(rows) * 4 // 100, replace=False).tolist())
    other = {"good": "bad", "bad": "good"}
    for number in swapped:
        rows[number]["label"] = other[rows[number]["label"]]
    columns = ("text", "label", "lang", "id")
    path = write_csv(tmp_path / "rows.csv", [tuple(row[name] for name in columns) for row in rows], columns)
    settings = flags(tiny_xlmr, path, tmp_path / "cv", folds=5, batch={"size": 8})
    settings["data"]["validation"], settings["training"] = None, {"epochs": 10, "learning_rate": 3e-3}
    cross_validate(load(None, settings))
    suspects = read_csv(tmp_path / "cv" / "suspect_labels.csv")
    trust = [float(row["probability_of_label"]) for row in suspects]
    assert trust == sorted(trust)
    assert all(row["label"] != row["predicted"] for row in suspects)
    assert [rows[int(row["row"])]["text"] for row in suspects] == [row["text"] for row in suspects]
    found = {int(row["row"]) for row in suspects[: len(swapped)]}
    assert len(found & set(swapped)) >= 0.6 * len(swapped)
    assert {row["issue"] for row in suspects[:3]} == {"true"}


def test_a_label_with_fewer_rows_than_folds(tmp_path: Path, tiny_bert: Path, refused: Refused) -> None:
    """Case 15."""
    rows = [(f"text {number}", "ab"[number % 2]) for number in range(40)] + [("rare", "c"), ("rarer", "c")]
    path = write_csv(tmp_path / "rows.csv", rows)
    common = ("cv", "--model.name", tiny_bert, "--data.train", path, "--output", tmp_path / "cv")
    told = refused(DATA, *common, "--folds", "3")
    assert "label 'c' has 2 rows for 3 folds" in told
    assert not (tmp_path / "cv").exists()


def test_groups_too_few_or_too_uneven(tmp_path: Path, tiny_bert: Path, refused: Refused) -> None:
    rows = [(f"text {number}", "ab"[number % 2], f"g{number // 10}") for number in range(40)]
    path = write_csv(tmp_path / "rows.csv", rows, ("text", "label", "id"))
    common = ("cv", "--model.name", tiny_bert, "--data.train", path, "--data.group", "id", "--output", tmp_path / "cv")
    assert "4 groups (data.group) for 5 folds" in refused(DATA, *common)
    rows += [("x", "c", "g1"), ("y", "c", "g1"), ("z", "c", "g2")]
    write_csv(path, rows, ("text", "label", "id"))
    assert "label 'c' has 2 groups for 3 folds" in refused(DATA, *common, "--folds", "3")


def test_folders_that_are_something_else(
    cv: Path, run: Path, settings: dict[str, Any], tmp_path: Path, refused: Refused
) -> None:
    given = ["cv", "--model.name", settings["model"]["name"], "--data.train", settings["data"]["train"]]
    assert "not a cross-validation's" in refused(USAGE, *given, "--output", run)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    assert "thesis.tex" in refused(USAGE, *given, "--output", tmp_path / "mine")
    assert "is a file" in refused(USAGE, *given, "--output", settings["data"]["train"])
    assert "data.max_length 48 -> 256" in refused(USAGE, *given, "--output", cv)
    assert "holds files that are not a run's" in refused(USAGE, "train", *given[1:], "--output", cv)


def test_other_rows_are_not_mixed_in(cv: Path, settings: dict[str, Any], tmp_path: Path, refused: Refused) -> None:
    path = tmp_path / "rows.csv"
    shutil.copy(settings["data"]["train"], path)
    settings = {**settings, "data": {**settings["data"], "train": str(path)}, "output": str(tmp_path / "cv")}
    cross_validate(load(None, settings), 1)
    with path.open("a", encoding="utf-8") as file:
        file.write("the film was new,good,en,s900\n")
    with pytest.raises(UserError, match="is of other folds: rows "):
        cross_validate(load(None, settings))
    with pytest.raises(UserError, match="folds 3 -> 2"):
        cross_validate(load(None, {**settings, "folds": 2}))


def test_flags_that_do_not_go_together(refused: Refused, cv: Path) -> None:
    assert "--fold 5" in refused(USAGE, "cv", "--fold", "5")
    assert "leave one out" in refused(USAGE, "cv", "--fold", "1", "--collect")
    assert "resume is" in refused(USAGE, "cv", "--resume", cv)
    assert "what is set aside is the whole folder" in refused(USAGE, "cv", "--resume", "never", "--fold", "1")
    assert "folds 0, 1, 2, 3, 4 are not finished" in refused(1, "cv", "--collect", "--output", cv / "nowhere")
    assert "--fold" in refused(USAGE, "cv", "--fold", "one")


def test_a_fold_in_use_is_not_touched(settings: dict[str, Any], tmp_path: Path) -> None:
    pass

    config = at(settings, tmp_path / "cv")
    (tmp_path / "cv" / "fold-1").mkdir(parents=True)
    held = lock_folder(tmp_path / "cv" / "fold-1")
    try:
        with pytest.raises(UserError, match="fold-1 is in use by another run"):
            cross_validate(config)
    finally:
        held.release()
    assert sorted(path.name for path in (tmp_path / "cv").iterdir()) == ["fold-1"]


def test_never_sets_the_whole_aside(cv: Path, settings: dict[str, Any], tmp_path: Path) -> None:
    copy = tmp_path / "cv"
    shutil.copytree(cv, copy)
    results = cross_validate(at({**settings, "resume": "never", "training": {"epochs": 1}}, copy))
    assert results["folds"] == 3
    assert (tmp_path / "cv.1" / "metrics.json").read_bytes() == (cv / "metrics.json").read_bytes()


@pytest.mark.parametrize("damage", ["missing", "cut", "doubled"])
def test_a_fold_whose_answers_are_damaged(cv: Path, settings: dict[str, Any], tmp_path: Path, damage: str) -> None:
    copy = tmp_path / "cv"
    shutil.copytree(cv, copy)
    path = copy / "fold-1" / "held_out.csv"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[:-1] if damage == "cut" else [*lines, lines[-1]]), encoding="utf-8")
    if damage == "missing":
        path.unlink()
    with pytest.raises(UserError, match=r"fold-1.held_out\.csv"):
        collect(at(settings, copy))


def test_tweets_in_eight_languages(tweets: Path, tmp_path: Path) -> None:
    """Even in each label of each language; a SentencePiece vocabulary with many scripts, emoji among it."""
    from accel_clf.config.schema import DataConfig
    from accel_clf.data.sources import read_dataset

    rows = read_dataset(str(tweets), DataConfig(slice="lang"), split="train")
    encoder = make_xlmr(tmp_path / "encoder", list(islice(rows.texts(), 4000)), layers=1, vocabulary=6000)
    data = {"train": str(tweets), "slice": "lang", "limit": 800, "max_length": 64}
    cross_validate(load(None, {"model": {"name": str(encoder)}, "data": data, "output": str(tmp_path / "cv")}))
    found = read_csv(tmp_path / "cv" / "out_of_fold.csv")
    assert len({row["row"] for row in found}) == len(found) == 800
    for cell in {(row["label"], row["slice"]) for row in found}:
        held_out = Counter(row["fold"] for row in found if (row["label"], row["slice"]) == cell)
        assert max(held_out.values()) - min(held_out[str(fold)] for fold in range(5)) <= 1
    metrics = json.loads((tmp_path / "cv" / "metrics.json").read_text())
    assert set(metrics["slices"]) == {"ar", "de", "en", "es", "fr", "hi", "it", "pt"}
