"""The text of a row: one column's, or several columns' joined."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from accel_clf.config.load import from_mapping
from accel_clf.config.schema import DataConfig
from accel_clf.core.errors import DataError
from accel_clf.core.exit_codes import DATA, USAGE
from accel_clf.data import near_duplicates
from accel_clf.data.dataset import count_blank_texts, digest
from accel_clf.data.sources import read_dataset, read_rows
from accel_clf.data.texts import Text
from tests.conftest import write_csv

TWO = DataConfig(text=("title", "body"))
ROWS = [("A title", "and a body", "x"), ("", "no title", "y"), ("no body", "", "x"), ("", "", "y")]
JOINED = ["A title and a body", "no title", "no body", ""]


def texts_of(path: Path, data: DataConfig) -> list[Text]:
    return [row.text for row in read_rows(str(path), data, []).stream()]


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
    assert list(rows.texts()) == texts_of(path, TWO) == JOINED
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


PAIRS = DataConfig(text=("title", "body"), pair="reply", incomplete="skip")


def test_incomplete_rows_of_several_columns_and_pairs(tmp_path: Path) -> None:
    """A text in one of several columns is enough; of a pair both sides need one."""
    columns = ("title", "body", "reply", "label")
    rows = [("a", "b", "c", "x"), ("a", None, "c", "y"), (None, None, "c", "x"), ("a", "b", None, "y")]
    rows += [(" ", None, "c", "x"), ("a", "b", "\t", "y"), ("a", "b", "c", None)]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps(dict(zip(columns, row, strict=True))) for row in rows))
    with pytest.raises(DataError, match="2 of 7 rows have no text") as caught:
        read_dataset(str(path), PAIRS.model_copy(update={"incomplete": "refuse"}), split="train")
    counts = "2 of 7 rows have no text (line 3, 4), 1 no label (line 7), 2 an empty text (line 5, 6)"
    assert counts in str(caught.value)
    left = read_dataset(str(path), PAIRS, split="train")
    assert list(left.texts()) == [("a b", "c"), ("a", "c")]
    kept = rows[:2] + rows[4:6]
    path.write_text("\n".join(json.dumps(dict(zip(columns, row, strict=True))) for row in kept))
    blank = read_dataset(str(path), PAIRS.model_copy(update={"incomplete": "refuse"}), split="train")
    assert count_blank_texts(blank) == 2


def test_columns_by_number_and_inside_of_objects(tmp_path: Path) -> None:
    table = tmp_path / "rows.csv"
    table.write_text("a,b,c,x\nd,e,f,y\n")
    data = from_mapping({"data": {"text": [1, 3], "pair": 2, "label": 4, "header": False}}).data
    assert list(read_dataset(str(table), data, split="train").texts()) == [("a c", "b"), ("d f", "e")]
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"data": {"title": "a", "reply": "b"}, "body": "c", "label": "x"}))
    data = DataConfig(text=("data.title", "body"), pair="data.reply")
    assert texts_of(path, data) == [("a c", "b")]


def test_near_duplicates_of_pairs_are_those_of_both_texts(tmp_path: Path) -> None:
    premise = "a film of which nobody who has seen it in a cinema this year says anything that is good"
    replies = ["one two three four five six seven eight", "nine ten eleven twelve one two three four"]
    train = write_csv(tmp_path / "train.csv", [(premise, reply, "x") for reply in replies], ("text", "pair", "label"))
    others = [(f"{premise}!", replies[0], "x"), (premise, " ".join("abcdefghijklmnopqrst"), "x")]
    test = write_csv(tmp_path / "test.csv", others, ("text", "pair", "label"))
    rows = [read_dataset(str(path), DataConfig(pair="pair"), split="train") for path in (train, test)]
    assert near_duplicates.find(*rows).others == {0: 0}


def test_missing_label_is_guessed_among_the_other_columns(tmp_path: Path, refused: Callable[..., str]) -> None:
    rows = [(f"title {i % 2}", f"body {i}", ["yes", "no"][i % 2], "ab"[i % 2]) for i in range(8)]
    path = tmp_path / "rows.jsonl"
    names = ("title", "body", "reply", "stars")
    path.write_text("\n".join(json.dumps(dict(zip(names, row, strict=True))) for row in rows))
    message = refused(DATA, "train", path, "--text", "title", "--text", "body", "--pair", "reply")
    assert "'stars' looks like the label" in message
    assert f"accel-clf train {path} --text title --text body --pair reply --label stars" in message


def test_windows_are_of_single_texts(refused: Callable[..., str]) -> None:
    message = refused(USAGE, "train", "rows.csv", "--pair", "reply", "--data.windows.stride", 4)
    assert "data.pair and data.windows.stride exclude each other: windows are of single texts" in message
    assert "{" not in message, "the section's values"
