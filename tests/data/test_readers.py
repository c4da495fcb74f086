"""Strict readers: errors name the file and the line, and say what to do."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from accel_clf.config.schema import DataConfig
from accel_clf.core.errors import DataError
from accel_clf.core.exit_codes import DATA
from accel_clf.data import readers
from accel_clf.data.sources import read_dataset
from tests.conftest import write_csv

COLUMNS = ["text", "label"]
Refused = Callable[..., str]


def records(path: Path) -> list[tuple[str, ...]]:
    return [values for _, values in readers.read(path, COLUMNS)]


def label_names(path: Path) -> tuple[str, ...]:
    return read_dataset(str(path), DataConfig(), split="train").target.names


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("gzipped", [False, True])
def test_all_formats_give_the_same_records(tmp_path: Path, suffix: str, gzipped: bool) -> None:
    rows = [('a "quoted" text, with a comma\tand a tab\nand a second line', "NA"), ("ünïcode ‮ \u2028", "01"), ("", "x")]
    path = tmp_path / f"rows{suffix}"
    if suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(dict(zip(COLUMNS, row, strict=True))) for row in rows))
    elif suffix == ".parquet":
        pq.write_table(pa.table(dict(zip(COLUMNS, map(list, zip(*rows, strict=True)), strict=True))), path)
    else:
        import csv

        with path.open("w", newline="") as file:
            csv.writer(file, dialect="excel-tab" if suffix == ".tsv" else "excel").writerows([COLUMNS, *rows])
    if gzipped:
        compressed = tmp_path / f"rows{suffix}.gz"
        compressed.write_bytes(gzip.compress(path.read_bytes()))
        path = compressed
    assert records(path) == rows
    assert readers.column_names(path) == tuple(COLUMNS)


def test_labels_are_kept_as_written(tmp_path: Path) -> None:
    """Case 17."""
    names = ["NA", "None", "null", "01", "1", "1.0", "nan", "TRUE"]
    path = write_csv(tmp_path / "labels.csv", [(f"text {name}", name) for name in names])
    assert label_names(path) == tuple(sorted(names))
    assert label_names(write_csv(tmp_path / "numbers.csv", [("a", "10"), ("b", "9"), ("c", "-1")])) == ("-1", "9", "10")
    mixed = tmp_path / "mixed.jsonl"
    mixed.write_text('{"text": "a", "label": 1}\n{"text": "b", "label": true}\n{"text": "c", "label": "null"}')
    assert label_names(mixed) == ("1", "null", "true")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "cp1252"])
def test_other_encodings_are_refused_with_their_offset(tmp_path: Path, refused: Refused, encoding: str) -> None:
    """Case 18."""
    path = tmp_path / "rows.csv"
    path.write_bytes("text,label\nplain,a\ncafé,b\n".encode(encoding))
    message = refused(DATA, "train", "--data.train", path)
    assert str(path) in message
    assert "offset" in message
    assert "UTF-8" in message
    if encoding == "cp1252":
        assert "line 3: byte 0xe9 at offset 22" in message
        assert "iconv -f cp1252" in message


def test_byte_order_mark_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b"\xef\xbb\xbf" + "text,label\ncafé,b\n".encode())
    assert records(path) == [("café", "b")]


BROKEN_TABLES = {
    "extra field": ("text,label\na,b\nc,d,e\n", "line 3: 3 fields", "2, as in the header"),
    "missing field": ("text,label\na,b\nc\n", "line 3: 1 fields", "2, as in the header"),
    "after a two-line text": ('text,label\n"a\nb",x\nc\n', "line 4: 1 fields", ""),
    "unclosed quote": ('text,label\na,b\n"c,d\ne,f\n', "line 3: a quoted field that is never closed", ""),
    "duplicate column": ("text,label,text\na,b,c\n", "line 1: column 'text' appears twice", ""),
    "empty": ("", "an empty file", "a header line"),
    "header only": ("text,label\n", "no rows below the header", ""),
    "wrong separator": ("text;label\na;b\n", "no column 'text'", "comma"),
    "misspelt column": ("Text,label\na,b\n", "no column 'text'", "did you mean Text?"),
    "empty label": ("text,label\na,\n", "1 of 1 rows has no label (line 2)", "--data.incomplete skip"),
}


@pytest.mark.parametrize("case", BROKEN_TABLES)
def test_broken_table_is_refused_with_file_and_line(tmp_path: Path, refused: Refused, case: str) -> None:
    """Case 19."""
    content, problem, hint = BROKEN_TABLES[case]
    path = tmp_path / "rows.csv"
    path.write_text(content)
    message = refused(DATA, "train", "--data.train", path)
    assert str(path) in message
    assert problem in message
    assert hint in message


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"text": "a"', "not JSON"),
        ('["a", "b"]', "list"),
        ('{"text": "a"}', "no column 'label'"),
        ('{"text": 3, "label": "x"}', "column 'text' is int"),
        ('{"text": "a", "label": 1.5}', "the label is 1.5, a float"),
        ('{"text": "a", "label": NaN}', "NaN is not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"text": "a", "text": "b", "label": "x"}', "key 'text' appears twice"),
        ('{"text": "a\\ud800", "label": "x"}', "a lone surrogate (U+D800) at character 1"),
    ],
)
def test_broken_json_line_is_refused_with_its_number(tmp_path: Path, refused: Refused, line: str, problem: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "fine", "label": "x"}\n\n' + line + "\n")
    message = refused(DATA, "train", "--data.train", path)
    assert f"{path}, line 3" in message
    assert problem in message


@pytest.mark.parametrize("name", ["rows.csv.gz", "rows.parquet", "rows.parquet.gz"])
def test_damaged_container_is_refused(tmp_path: Path, refused: Refused, name: str) -> None:
    path = tmp_path / name
    complete = gzip.compress(b"text,label\n" + b"a,b\n" * 10_000)
    path.write_bytes(complete[: len(complete) // 2] if name.endswith(".gz") else b"text,label\na,b\n")
    assert str(path) in refused(DATA, "train", "--data.train", path)


def test_unknown_file_types_and_missing_files_are_refused(tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "rows.xlsx").write_bytes(b"PK")
    assert ".csv .tsv .jsonl .parquet" in refused(DATA, "train", "--data.train", tmp_path / "rows.xlsx")
    assert "no such file" in refused(DATA, "train", "--data.train", tmp_path / "missing.csv")


def test_long_text_is_read_completely(tmp_path: Path) -> None:
    assert records(write_csv(tmp_path / "rows.csv", [("x" * 1_000_000, "a")])) == [("x" * 1_000_000, "a")]


def test_file_that_changes_between_two_reads_is_refused(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "rows.csv", [("one", "a"), ("two", "b")])
    rows = read_dataset(str(path), DataConfig(), split="train")
    write_csv(path, [("one", "a"), ("2", "b")])
    with pytest.raises(DataError, match="changed while it was being read"):
        list(rows.texts())
    write_csv(path, [("one", "a")])
    with pytest.raises(DataError, match="changed while it was being read"):
        list(rows.texts())
