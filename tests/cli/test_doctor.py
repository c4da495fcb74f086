"""`accel-clf doctor --data`: what a data set is like, and whether it could be trained on."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from accel_clf.cli.main import main
from accel_clf.config.load import from_mapping
from accel_clf.core.exit_codes import DATA, DONE, USAGE
from tests.conftest import read_csv, write_csv

Examine = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def examine(capsys: pytest.CaptureFixture[str], tiny_bert: Path) -> Examine:
    def run(*args: object) -> tuple[int, dict[str, Any]]:
        code = main(["doctor", *map(str, args), "--model.name", str(tiny_bert), "--json"])
        return code, json.loads(capsys.readouterr().out)

    return run


@pytest.fixture
def suspicious(tmp_path: Path, reviews: Path) -> Path:
    """Rows with a twin of another label, a near-duplicate, gaps, and labels that differ by a space."""
    rows = [(row["text"], row["label"]) for row in read_csv(reviews)][:100]
    first, second = rows[0][0], rows[1][0]
    other = {"negative": "positive", "positive": "negative"}[rows[0][1]]
    return write_csv(
        tmp_path / "rows.csv",
        [*rows, (first, other), (f"{second} !", "positive "), ("no label", ""), (" ", "positive")],
    )


def test_a_data_set_is_described(examine: Examine, suspicious: Path) -> None:
    code, report = examine("--data", suspicious, "--data.incomplete", "skip", "--data.max_length", 12)
    assert code == DONE
    assert report["source"] == {"name": str(suspicious), "kind": "CSV", "bytes": suspicious.stat().st_size}
    assert report["columns"] == ["text", "label"]
    assert report["rows"] == {"read": 104, "usable": 102, "no text": 0, "no label": 1, "an empty text": 1}
    assert report["splits"] == {"train": 92, "validation": 10}
    assert (report["target"]["type"], report["target"]["reason"]) == ("single_label", "a label in each row")
    assert sum(report["labels"]["counts"].values()) == 102
    assert list(report["labels"]["counts"])[-1] == "positive "
    lengths = [len(row["text"]) for row in read_csv(suspicious) if row["label"] and row["text"].strip()]
    assert report["lengths"]["characters"]["maximum"] == max(lengths)
    assert report["lengths"]["tokens"]["minimum"] > 2
    assert 0 < report["lengths"]["share_cut"] < 1
    assert report["twins"] == {"rows": 2, "texts_with_different_labels": 1}
    assert report["near_duplicates"]["rows"] >= 2
    assert len(report["near_duplicates"]["example"]) == 2
    assert any("surrounding spaces" in warning for warning in report["warnings"])
    assert not report["problems"]


def test_twins_in_the_other_order(examine: Examine, tmp_path: Path) -> None:
    """Of pairs they are twins only where their order means nothing."""
    pairs = [("is it open", "are you open"), ("are you open", "is it open"), ("a", "b"), ("c", "d")] * 5
    rows = [
        (f"{first} {number // 4}", f"{second} {number // 4}", str(number % 2))
        for number, (first, second) in enumerate(pairs)
    ]
    path = write_csv(tmp_path / "pairs.csv", rows, ("text", "other", "label"))
    flags = ("--data", path, "--pair", "other", "--data.near_duplicates", "false")
    assert examine(*flags)[1]["twins"] == {"rows": 0, "texts_with_different_labels": 0}
    assert examine(*flags, "--data.symmetric", "true")[1]["twins"] == {"rows": 10, "texts_with_different_labels": 5}


def test_the_settings_are_those_of_a_run(examine: Examine, suspicious: Path) -> None:
    flags = ["--data.incomplete", "skip", "--training.epochs", "2"]
    _, report = examine("--data", suspicious, *flags)
    config = from_mapping(report["settings"])
    assert (config.data.train, config.training.epochs) == (str(suspicious), 2)
    assert (config.target.type, config.training.learning_rate) == ("single_label", 2e-5)


def test_what_cannot_be_trained_on_is_a_data_error(examine: Examine, suspicious: Path, tmp_path: Path) -> None:
    code, report = examine("--data", suspicious)
    assert code == DATA
    [problem] = report["problems"]
    assert "1 of 104 rows has no label (line 104)" in problem["got"]
    assert "--data.incomplete skip" in problem["to do"]
    assert report["rows"]["usable"] == 102
    same = write_csv(tmp_path / "same.csv", [(f"text {number}", "only") for number in range(10)])
    code, report = examine("--data", same)
    assert (code, report["labels"]["counts"], report["splits"]) == (DATA, {"only": 10}, {})
    assert "all 10 rows have the label 'only'" in report["problems"][0]["got"]


@pytest.mark.parametrize(
    ("columns", "flags", "kind", "label_keys"),
    [
        ({"tags": [["a"], ["a", "b"], []] * 4}, ["--label", "tags"], "multi_label", {"counts", "rows_without"}),
        ({"x": [0, 1, 1] * 4, "y": [1, 0, 1] * 4}, ["--label", "x", "--label", "y"], "multi_label", None),
        (
            {"stars": [1.0, 2.5, 4.0] * 4},
            ["--label", "stars", "--target.type", "regression"],
            "regression",
            {"numbers"},
        ),
        ({"grade": [3, 1, 2] * 4}, ["--label", "grade", "--target.type", "ordinal"], "ordinal", {"counts"}),
    ],
)
def test_each_kind_of_target_is_described(
    examine: Examine, tmp_path: Path, columns: dict[str, list[Any]], flags: list[str], kind: str, label_keys: set[str]
) -> None:
    texts = [f"text number {number} of them" for number in range(12)]
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"body": texts, **columns}), path)
    code, report = examine("--data", path, "--text", "body", *flags)
    assert (code, report["target"]["type"], report["source"]["kind"]) == (DONE, kind, "Parquet")
    assert report["columns"] == ["body", *columns]
    assert set(report["labels"]) == (label_keys or {"counts", "rows_without"})


def test_it_fits_a_terminal(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """With many labels, long ones, and those that would move the cursor; without the model's tokenizer."""
    long = "x" * 200
    rows = [(f"text {number} \x1b[2J {long}", f"{number % 40} \x1b[2J {long}") for number in range(200)]
    path = write_csv(tmp_path / "rows.csv", [*rows, (f"{rows[0][0]}!", rows[0][1])])
    assert main(["doctor", "--data", str(path), "--model.name", "org/not-here"]) == DONE
    text = capsys.readouterr().out
    described, settings = text.split("settings (all others are the defaults)")
    assert "... 31 more" in described
    assert "words" in described and "tokenizer is not on this machine" in described
    assert "\x1b" not in text
    assert [
        line for line in described.splitlines() if len(line) > 80 and long not in line and str(path) not in line
    ] == []
    assert yaml.safe_load(settings)["data"]["label"] == "label"


def test_the_demo_is_described(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--data", "demo"]) == DONE
    assert "the built-in demo" in capsys.readouterr().out


def test_settings_need_data(refused: Callable[..., str], tmp_path: Path) -> None:
    assert "no data to examine" in refused(USAGE, "doctor", "--data.max_length", 65)
    assert "no such file" in refused(DATA, "doctor", "--data", tmp_path / "none.csv")
    config = tmp_path / "config.yaml"
    config.write_text(f"data:\n  train: {tmp_path / 'none.csv'}\n")
    assert "no such file" in refused(DATA, "doctor", config)


def test_languages_are_told_if_asked(examine: Examine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    german = "Der Film war sehr schön, und wir haben viel gelacht"
    english = "The film was very nice, and we have laughed a lot"
    rows = [(f"{text} {number}", str(number % 2)) for number in range(20) for text in (german, english, english)]
    path = write_csv(tmp_path / "rows.csv", [*rows, ("ok", "1")])
    assert examine("--data", path)[1]["languages"] is None
    assert examine("--data", path, "--languages")[1]["languages"] == {
        "texts": 61, "too_short": 1, "counts": {"en": 40, "de": 20}
    }  # fmt: skip
    main(["doctor", "--data", str(path), "--languages"])
    assert "en 66.7%, de 33.3%, of 60 texts (1 more are too short to tell)" in " ".join(capsys.readouterr().out.split())
