"""Pairs of texts: scores equal the pipeline's, in every layout and for every way in which a family reads pairs."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import accel_clf
from accel_clf.core.exit_codes import DATA, USAGE
from accel_clf.data.collate import model_inputs
from accel_clf.inference.predictor import Predictor
from accel_clf.training.batches import example_batch
from accel_clf.training.prepare import PreparedRun
from tests.conftest import read_csv
from tests.pair_forms import (
    FORMS,
    WITH_TYPES,
    make_encoder,
    pipeline_scores,
    random_pairs,
    settings,
)

PAIRS = random_pairs(60, seed=1)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, pairs: Path) -> accel_clf.Run:
    """A run of a BERT on pairs, with a test set."""
    folder = tmp_path_factory.mktemp("bert-pairs")
    return accel_clf.train(settings(folder, make_encoder(folder / "bert", "bert"), pairs, test=str(pairs)))


@pytest.mark.parametrize("layout", ["padded", "packed", "bucketed"])
@pytest.mark.parametrize("family", FORMS)
def test_scores_equal_the_pipelines(
    family: str, layout: str, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model is trained in the layout, and its run answers in the device's own, packed where the family can be."""
    names: list[set[str]] = []

    def note(prepared: PreparedRun, layout: str) -> Any:
        rows = original(prepared, layout)
        names.append(set(model_inputs(example_batch(rows, prepared.config))))
        return rows

    original = PreparedRun.training_rows
    monkeypatch.setattr(PreparedRun, "training_rows", note)
    values = settings(tmp_path, make_encoder(tmp_path / family, family), pairs)
    values["batch"]["layout"] = layout
    run = accel_clf.train(values)
    assert all(("token_type_ids" in inputs) == (family in WITH_TYPES) for inputs in names)
    expected = pipeline_scores(run.path / "model", PAIRS)
    for answer, scores in zip(run.predict(PAIRS), expected, strict=True):
        assert answer["scores"] == pytest.approx(scores, abs=1e-5)


def test_every_way_to_ask_gives_the_same_answers(
    run: accel_clf.Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from accel_clf.cli.main import main

    def lines() -> list[Any]:
        return [json.loads(line)["scores"] for line in capsys.readouterr().out.splitlines()]

    asked = PAIRS[:5]
    expected = [answer["scores"] for answer in run.predict(asked)]
    assert [answer["scores"] for answer in run.predict([{"text": a, "text_pair": b} for a, b in asked])] == expected
    assert [answer["scores"] for answer in run.predict([{"second": b, "first": a} for a, b in asked])] == expected
    [alone] = run.predict({"text": asked[0][0], "text_pair": asked[0][1]})
    assert alone["scores"] == pytest.approx(expected[0], abs=1e-6)
    assert main(["predict", str(run.path), "--json", *(text for pair in asked for text in pair)]) == 0
    assert lines() == expected
    text = "\n".join(
        json.dumps(pair if number % 2 else {"text": pair[0], "text_pair": pair[1]}) for number, pair in enumerate(asked)
    )
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert main(["predict", str(run.path), "--json"]) == 0
    assert lines() == expected
    table = tmp_path / "asked.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([("a", "b"), *asked])
    output = tmp_path / "answers.csv"
    columns = ["--text", "a", "--pair", "b"]
    assert main(["predict", str(run.path), "--data", str(table), *columns, "--output", str(output)]) == 0
    answers = read_csv(output)
    assert [(row["a"], row["b"]) for row in answers] == asked
    assert [float(row["score:same"]) for row in answers] == [scores["same"] for scores in expected]


def test_evaluation_is_that_of_the_run(run: accel_clf.Run, pairs: Path) -> None:
    tested = run.metrics["test"]
    assert run.evaluate(pairs)["accuracy"] == tested["accuracy"]
    renamed = pairs.with_name("renamed.csv")
    renamed.write_text(pairs.read_text().replace("first,second,", "a,b,", 1))
    assert run.evaluate(renamed, text="a", pair="b")["accuracy"] == tested["accuracy"]
    swapped = run.evaluate(pairs, text="second", pair="first")
    assert swapped["log_loss"] != tested["log_loss"], "the order matters"


def test_what_is_not_a_pair_is_refused(run: accel_clf.Run, refused: Callable[..., str], tmp_path: Path) -> None:
    for wrong in ("one", ["one"], [("a", "b", "c")], [{"text": "a"}], [("a", 1)], [("a", "\ud800")]):
        with pytest.raises(accel_clf.DataError, match="text 1: "):
            run.predict(wrong)  # type: ignore[arg-type]
    assert "3 texts, and the run reads pairs" in refused(USAGE, "predict", run.path, "a", "b", "c")
    (tmp_path / "rows.csv").write_text("first,label\na,same\n")
    assert "no column 'second'" in refused(DATA, "evaluate", run.path, "--data", tmp_path / "rows.csv")


def test_settings_of_pairs_are_checked(pairs: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    encoder = make_encoder(tmp_path / "roberta", "roberta")
    common = [
        "train",
        "--data.train",
        pairs,
        "--data.text",
        "first",
        "--model.name",
        encoder,
        "--output",
        tmp_path / "run",
    ]
    assert "in data.text, too" in refused(USAGE, *common, "--data.pair", "first")
    message = refused(USAGE, *common, "--data.pair", "second", "--data.max_length", 5)
    assert "at least 6, so that a token of each text is left" in message


def test_runs_without_pairs_refuse_them(pairs: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    values = settings(tmp_path, make_encoder(tmp_path / "bert", "bert"), pairs, pair=None)
    run = accel_clf.train(values)
    with pytest.raises(accel_clf.DataError, match="text 1: a list of 2"):
        run.predict([("a", "b")])
    assert "reads one text per row" in refused(USAGE, "evaluate", run.path, "--data", pairs, "--pair", "second")
    assert not Predictor(run.path).with_types


def test_demo_encoder_reads_pairs_and_the_baseline_both_sides(pairs: Path, tmp_path: Path) -> None:
    values = settings(tmp_path, "demo", pairs)
    values["evaluation"]["baseline"] = True
    run = accel_clf.train(values)
    assert {"training", "validation", "baseline"} <= run.metrics.keys()
    expected = pipeline_scores(run.path / "model", PAIRS[:10])
    assert [answer["scores"] for answer in run.predict(PAIRS[:10])] == [
        pytest.approx(scores, abs=1e-5) for scores in expected
    ]


def test_cross_validation_of_pairs(pairs: Path, tmp_path: Path) -> None:
    values = settings(tmp_path, make_encoder(tmp_path / "bert", "bert"), pairs)
    run = accel_clf.cross_validate(values | {"folds": 2})
    assert {row["text_pair"] for row in read_csv(run.path / "suspect_labels.csv")} <= {
        row["second"] for row in read_csv(pairs)
    }
    scores = [pipeline_scores(run.path / f"fold-{fold}" / "model", PAIRS[:9]) for fold in range(2)]
    per_model = torch.tensor([[list(row.values()) for row in of_model] for of_model in scores])
    expected = torch.softmax(per_model.log() / run.metrics["calibration"]["temperature"], dim=-1).mean(dim=0)
    answers = torch.tensor([list(answer["scores"].values()) for answer in run.predict(PAIRS[:9])])
    torch.testing.assert_close(answers, expected, rtol=0, atol=1e-5)
