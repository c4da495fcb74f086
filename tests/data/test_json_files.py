"""JSON arrays and lines, nested names, and the exports of annotation tools."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from accel_clf.config.schema import DataConfig, TargetConfig
from accel_clf.core.errors import DataError
from accel_clf.data.readers import json_files
from accel_clf.data.sources import read_dataset
from tests.conftest import read_records

ROWS = [("a film", "good"), ("a\nbore \U0001f600", "bad"), ("", "bad")]
OBJECTS = [{"label": label, "text": text, "n": [1, {"text": "]"}]} for text, label in ROWS]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_array_is_read_as_lines_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, indent: int | None, ascii_only: bool
) -> None:
    path = tmp_path / "rows.json"
    for block in (1, 7, 64, 1 << 16):
        monkeypatch.setattr(json_files, "BLOCK", block)
        path.write_text("\n " + json.dumps(OBJECTS, indent=indent, ensure_ascii=ascii_only) + "\n")
        assert read_records(path) == ROWS
        path.write_text("".join(json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in OBJECTS))
        assert read_records(path) == ROWS
    path.write_text("[]")
    assert read_records(path) == []


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('[{"text": "a", "label": "b"},\n{"text": "a"}]', "row 2 (line 2): no column 'label'"),
        ('[{"text": "a", "label": "b"},\n ["a"]]', "row 2 (line 2): list"),
        ('[{"text": "a", "label": "b"}\n {"text": "a", "label": "b"}]', "line 2: not JSON (a comma"),
        ('[{"text": "a", "label": "b"}', "line 1: not JSON (the array does not end)"),
        ('[{"text": "a", "label": "b"},', "line 1: not JSON (the array does not end)"),
        ('[{"text": "a", "label": "b"},]', "line 1: not JSON (Expecting value"),
        ('[{"text": "a", "label": "b"}]\n{}', "line 2: not JSON (something follows the array)"),
        ('[\n{"text": NaN, "label": "b"}]', "line 2: not JSON (NaN is not JSON)"),
        ('[\n{"text": "a", "text": "b"}]', "line 2: not JSON (key 'text' appears twice)"),
        ('[\n{"text": "a' + "b" * 100 + '\n", "label": "b"}]', "line 2: not JSON (Invalid control character"),
        ("[" * 100_000, "line 1: not JSON (nested too deeply"),
        ('{\n"text": "a"\n}', "line 1: not JSON"),
        ('"text"', "line 1: str"),
    ],
)
@pytest.mark.parametrize("block", [20, 1 << 16])
def test_broken_array_is_refused_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, problem: str, block: int
) -> None:
    monkeypatch.setattr(json_files, "BLOCK", block)
    path = tmp_path / "rows.json"
    path.write_text(content)
    with pytest.raises(DataError) as error:
        read_records(path)
    assert f"{path}, {problem}" in str(error.value)


def test_array_is_streamed(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    peaks = []
    for rows in (2_000, 20_000):
        path.write_text(json.dumps([{"text": "a film" * 20, "label": "x"}] * rows))
        tracemalloc.start()
        dataset = read_dataset(str(path), DataConfig(), split="train")
        assert sum(1 for _ in dataset.texts()) == rows
        peaks.append(tracemalloc.get_traced_memory()[1] - 100 * rows)  # digests, labels and ids stay
        tracemalloc.stop()
    assert peaks[1] < 2 * peaks[0]


def test_file_of_lines_that_is_an_array_says_how_it_would_be_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(OBJECTS, indent=2))
    with pytest.raises(DataError, match=r"(?s)line 1: not JSON.*ends in \.json"):
        read_records(path)


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".parquet"])
def test_nested_values_have_names_with_dots(tmp_path: Path, suffix: str) -> None:
    rows = [{"id": 1, "data": {"text": "a", "more": {"x": "p"}}, "d.e": "q"}, {"id": 2, "data": {"text": "b", "more": {"x": "r"}}, "d.e": "s"}]  # fmt: skip # noqa: E501
    path = tmp_path / f"rows{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text(json.dumps(rows) if suffix == ".json" else "\n".join(map(json.dumps, rows)))
    assert read_records(path, ["data.text", "data.more.x", "d.e", "id"]) == [("a", "p", "q", 1), ("b", "r", "s", 2)]
    for missing in ("data.body", "other.text", "data.text.x"):
        with pytest.raises(DataError, match="no "):
            read_records(path, [missing])


def test_missing_name_lists_those_inside(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"data": {"text": "a"}, "annotations": [{"result": [{"value": {"choices": ["b"]}}]}]}')
    with pytest.raises(DataError) as error:
        read_records(path, ["text"])
    assert "'data.text'" in str(error.value)
    assert "'annotations.result.value.choices'" in str(error.value)


def label_studio(text: str, *choices: list[str], cancelled: bool = False) -> dict[str, Any]:
    results = [{"value": {"text": ["a note"]}, "type": "textarea"}] if choices else []
    annotations = [
        {"id": 7, "was_cancelled": cancelled, "result": [*results, {"value": {"choices": of_one}, "type": "choices"}]}
        for of_one in choices
    ]
    return {"id": 1, "annotations": annotations, "data": {"text": text}, "predictions": []}


EXPORTS: dict[str, tuple[str, str, str, list[dict[str, Any]]]] = {
    # suffix, text, label, rows: "one" has good, "two" bad
    "Label Studio's JSON": (
        ".json",
        "data.text",
        "annotations.result.value.choices",
        [
            label_studio("one", ["good"]),
            label_studio("two", ["bad"], ["bad"]),
            label_studio("skipped", ["bad"], cancelled=True),
        ],
    ),
    "Label Studio's JSON_MIN": (
        ".json",
        "text",
        "mood",
        [{"text": "one", "mood": "good", "annotator": 1}, {"text": "two", "mood": "bad", "annotator": 1}],
    ),
    "doccano's JSONL": (
        ".jsonl",
        "text",
        "label",
        [{"id": 1, "text": "one", "label": ["good"], "Comments": []}, {"id": 2, "text": "two", "label": ["bad"]}],
    ),
    "doccano's older JSON": (
        ".json",
        "data",
        "label",
        [{"data": "one", "label": ["good"]}, {"data": "two", "label": ["bad"]}],
    ),
    "Prodigy's options": (
        ".jsonl",
        "text",
        "accept",
        [
            {"text": "one", "options": [{"id": "good"}], "accept": ["good"], "answer": "accept", "_task_hash": 1},
            {"text": "skipped", "options": [], "accept": [], "answer": "ignore", "_task_hash": 2},
            {"text": "two", "options": [], "accept": ["bad"], "answer": "accept", "_task_hash": 3},
        ],
    ),
    "Prodigy's label": (
        ".jsonl",
        "text",
        "label",
        [
            {"text": "one", "label": "good", "answer": "accept", "_task_hash": 1},
            {"text": "two", "label": "bad", "answer": "accept", "_task_hash": 3},
            {"text": "skipped", "label": "bad", "answer": "reject", "_task_hash": 2},
        ],
    ),
    "Argilla's records": (
        ".json",
        "fields.text",
        "responses.mood.value",
        [
            {"id": "1", "fields": {"text": "one"}, "responses": {"mood": [{"value": "good", "user_id": "u"}]}},
            {"id": "2", "fields": {"text": "two"}, "responses": {"mood": [{"value": "bad"}, {"value": "bad"}]}},
        ],
    ),
    "Argilla's feedback": (
        ".jsonl",
        "fields.text",
        "responses.values.mood.value",
        [
            {"fields": {"text": "one"}, "responses": [{"values": {"mood": {"value": "good"}}, "status": "submitted"}]},
            {"fields": {"text": "two"}, "responses": [{"values": {"mood": {"value": "bad"}}, "status": "submitted"}]},
            {"fields": {"text": "skipped"}, "responses": [{"values": {}, "status": "discarded"}]},
        ],
    ),
    "Argilla's columns": (
        ".jsonl",
        "text",
        "mood.responses",
        [{"text": "one", "mood.responses": ["good"]}, {"text": "two", "mood.responses": ["bad"]}],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", EXPORTS)
def test_exports_of_annotation_tools_are_read_as_they_come(tmp_path: Path, case: str) -> None:
    suffix, text, label, rows = EXPORTS[case]
    path = tmp_path / f"export{suffix}"
    path.write_text(json.dumps(rows) if suffix == ".json" else "\n".join(map(json.dumps, rows)))
    data = DataConfig(text=text, label=label)
    dataset = read_dataset(str(path), data, TargetConfig(type="single_label"), split="train")
    assert list(dataset.texts()) == ["one", "two"]
    assert [dataset.target.names[code] for code in dataset.labels] == ["good", "bad"]
    assert bool(dataset.notes) == (len(rows) == 3)
    assert not dataset.notes or f"{path}: 1 " in dataset.notes[0]
    assert [values for (values,) in read_records(path, [text])] == [
        row["fields"]["text"] if "fields" in row else row["data"]["text"] if "annotations" in row else row[text]
        for row in rows
    ], "texts without labels are texts, too"


def test_lists_are_labels_of_which_a_text_may_have_several(tmp_path: Path) -> None:
    path = tmp_path / "export.json"
    path.write_text(json.dumps([label_studio("one", ["good", "long"], ["good"]), label_studio("two", [])]))
    data = DataConfig(text="data.text", label="annotations.result.value.choices")
    rows = read_dataset(str(path), data, split="train")
    assert rows.target.names == ("good", "long")
    assert rows.labels.tolist() == [[1, 1], [0, 0]]


def test_annotators_who_differ_are_no_single_label(tmp_path: Path) -> None:
    path = tmp_path / "export.json"
    path.write_text(json.dumps([label_studio("one", ["good"], ["bad"])]))
    data = DataConfig(text="data.text", label="annotations.result.value.choices")
    with pytest.raises(DataError, match="row 1: 2 labels: 'good', 'bad'"):
        read_dataset(str(path), data, TargetConfig(type="single_label"), split="train")
    path.write_text(json.dumps([label_studio("one")]))
    with pytest.raises(DataError, match="row 1: the label is null"):
        read_dataset(str(path), data, TargetConfig(type="single_label"), split="train")


def test_spans_are_no_labels(tmp_path: Path) -> None:
    path = tmp_path / "export.jsonl"
    path.write_text('{"text": "a film", "label": [[0, 1, "DET"]]}')
    with pytest.raises(DataError, match=r"line 1: the label is \[0, 1, 'DET'\], a list"):
        read_dataset(str(path), DataConfig(), split="train")
