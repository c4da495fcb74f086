"""The text of a row: one column's, or several columns' joined."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from accel_clf.config.load import from_mapping
from accel_clf.config.schema import DataConfig
from accel_clf.core.errors import DataError
from accel_clf.core.exit_codes import DATA, USAGE
from accel_clf.data.dataset import digest
from accel_clf.data.sources import read_dataset, read_texts
from tests.conftest import write_csv

TWO = DataConfig(text=("title", "body"))
ROWS = [("A title", "and a body", "x"), ("", "no title", "y"), ("no body", "", "x"), ("", "", "y")]
JOINED = ["A title and a body", "no title", "no body", ""]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
def test_columns_are_joined_without_the_empty_ones(tmp_path: Path, suffix: str) -> None:
    header, path = ("title", "body", "label"), tmp_path / f"rows{suffix}"
    if suffix == ".jsonl":
        records = [{name: cell or None for name, cell in zip(header, row, strict=True)} for row in ROWS[:3]]
        path.write_text("\n".join(map(json.dumps, [*records, {"title": "", "body": None, "label": "y"}])))
    else:
        separator = "\t" if suffix == ".tsv" else ","
        path.write_text("\n".join(separator.join(row) for row in [header, *ROWS]))
    rows = read_dataset(str(path), TWO, split="train")
    assert list(rows.texts()) == list(read_texts(str(path), TWO)) == JOINED
    assert [row.tobytes() for row in rows.digests] == list(map(digest, JOINED))
    assert rows.target.names == ("x", "y")


def test_order_is_that_of_the_setting(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "rows.csv", ROWS, ("title", "body", "label"))
    rows = read_dataset(str(path), DataConfig(text=("body", "title")), split="train")
    assert next(rows.texts()) == "and a body A title"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"title": "a", "body": 1, "label": "x"}', "line 2: column 'body' is int"),
        ('{"title": null, "body": null, "label": "x"}', r"1 of 2 rows has no text \(line 2\)"),
        ('{"title": "a", "label": "x"}', "line 2: no column 'body'"),
        ('{"title": "a", "body": "\\ud800", "label": "x"}', "line 2: a lone surrogate"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"title": "a", "body": "b", "label": "x"}\n' + line)
    with pytest.raises(DataError, match=message):
        read_dataset(str(path), TWO, split="train")


def test_class_label_of_a_hub_data_set_keeps_its_names(tmp_path: Path) -> None:
    """The label is the column that is called so, not the second one."""
    import datasets

    features = datasets.Features(
        {
            "title": datasets.Value("string"),
            "body": datasets.Value("string"),
            "label": datasets.ClassLabel(2, ["z", "a"]),
        }
    )
    columns = {"title": ["t", "u"], "body": ["b", "c"], "label": [0, 1]}
    datasets.Dataset.from_dict(columns, features).to_parquet(tmp_path / "train-00000.parquet")
    rows = read_dataset(str(tmp_path), TWO, split="train")
    assert rows.target.names == ("z", "a")
    assert list(rows.texts()) == ["t b", "u c"]


def test_one_column_in_a_list_is_that_column() -> None:
    assert from_mapping({"data": {"text": ["body"]}}).data.text == "body"
    assert from_mapping({"data": {"text": ["title", "body"]}}).data.text_columns == ("title", "body")


def test_columns_of_other_rows_are_named_one_by_one(run: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    path = write_csv(tmp_path / "rows.csv", ROWS, ("title", "body", "label"))
    assert "no column 'text'" in refused(DATA, "predict", run, "--data", path)
    assert "a column, or several different ones" in refused(USAGE, "train", "--data.text", "a", "--data.text", "a")


def test_predict_and_api_take_several_columns(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import accel_clf
    from accel_clf.cli.main import main

    rows = [(text[:6], text[6:], "positive") for text in ("superb food", "a dull and long film")]
    path = write_csv(tmp_path / "rows.csv", rows, ("title", "body", "label"))
    assert main(["predict", str(run), "--data", str(path), "--text", "title", "--text", "body", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["text"] for line in lines] == [f"{title} {body}" for title, body, _ in rows]
    answers = accel_clf.load(run).predict([line["text"] for line in lines])
    assert [line["scores"] for line in lines] == [answer["scores"] for answer in answers]
    metrics = accel_clf.load(run).evaluate(path, text=["title", "body"])
    assert metrics["accuracy"] == sum(line["label"] == "positive" for line in lines) / len(lines)
