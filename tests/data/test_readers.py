"""Strict readers: errors name the file and the line, and say what to do."""

import gzip
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from accel_clf.config.schema import DataConfig
from accel_clf.core.errors import DataError
from accel_clf.core.exit_codes import DATA
from accel_clf.data.sources import read_dataset
from tests.conftest import read_records, write_csv

COLUMNS = ["text", "label"]
Refused = Callable[..., str]


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
    assert read_records(path, quoting="standard") == rows


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
    assert f"--data.encoding {encoding}" in message
    if encoding == "cp1252":
        assert "line 3: byte 0xe9 at offset 22" in message


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "cp1251", "shift_jis", "latin-1"])
@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".json", ".txt"])
def test_encoding_is_that_of_the_settings(tmp_path: Path, encoding: str, suffix: str) -> None:
    text = {"cp1251": "фильм", "shift_jis": "映画"}.get(encoding, "café")
    entry = json.dumps({"text": text}, ensure_ascii=False)
    contents = {".csv": f"text\n{text}\n", ".jsonl": entry, ".json": f"[{entry}]", ".txt": text}
    path = tmp_path / f"rows{suffix}"
    path.write_bytes(contents[suffix].encode(encoding))
    assert read_records(path, ["text"], encoding=encoding) == [(text,)]


def test_nul_characters_are_refused(tmp_path: Path) -> None:
    contents = {".csv": "text\na\0b\n", ".tsv": "text\na\0b\n", ".txt": "a\0b", ".jsonl": '{"text": "a\\u0000b"}'}
    contents[".json"] = f"[{contents['.jsonl']}]"
    for suffix, content in contents.items():
        path = tmp_path / f"rows{suffix}"
        path.write_text(content)
        with pytest.raises(DataError, match=r"(line|row) [12].*a NUL character"):
            read_records(path, ["text"])
    pq.write_table(pa.table({"text": ["a\0b"]}), tmp_path / "rows.parquet")
    with pytest.raises(DataError, match="row 1: a NUL character"):
        read_records(tmp_path / "rows.parquet", ["text"])


def test_byte_order_mark_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b"\xef\xbb\xbf" + "text,label\ncafé,b\n".encode())
    assert read_records(path) == [("café", "b")]


BROKEN_TABLES = {
    "extra field": ("text,label\na,b\nc,d,e\n", "line 3: 3 fields", "2, as in the header"),
    "missing field": ("text,label\na,b\nc\n", "line 3: 1 fields", "2, as in the header"),
    "after a two-line text": ('text,label\n"a\nb",x\nc\n', "line 4: 1 fields", ""),
    "unclosed quote": ('text,label\na,b\n"c,d\ne,f\n', "line 3: a quoted field that is never closed", ""),
    "duplicate column": ("text,label,text\na,b,c\n", "line 1: column 'text' appears twice", ""),
    "empty": ("", "an empty file", "a header line"),
    "header only": ("text,label\n", "no rows below the header", ""),
    "wrong separator": ("text;label\na;b\n", "no column 'text'", "looks like ;: --data.separator ';'"),
    "misspelt column": ("Text,label\na,b\n", "no column 'text'", "--text Text"),
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


@pytest.mark.parametrize("member", ["rows.csv", "a/rows.tsv", "ROWS.JSON"])
def test_archive_of_one_file_is_read(tmp_path: Path, member: str) -> None:
    contents = {".csv": "text,label\na,b\n", ".tsv": "text\tlabel\na\tb\n", ".JSON": '[{"text": "a", "label": "b"}]'}
    for path in (tmp_path / "rows.zip", tmp_path / "rows.csv.ZIP"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("__MACOSX/._rows.csv", "what a Mac adds")
            archive.writestr(member, contents[Path(member).suffix])
        assert read_records(path) == [("a", "b")]


@pytest.mark.parametrize(
    ("members", "problem"),
    [(["a.csv", "b.csv"], "2 files: a.csv, b.csv"), ([], "0 files"), (["a.doc"], "a.doc"), (["a.csv.gz"], "a.csv.gz")],
)
def test_other_archives_are_refused(tmp_path: Path, refused: Refused, members: list[str], problem: str) -> None:
    path = tmp_path / "rows.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for member in members:
            archive.writestr(member, "text,label\na,b\n")
    message = refused(DATA, "train", "--data.train", path)
    assert str(path) in message
    assert problem in message


@pytest.mark.parametrize("name", [f"rows{end}" for end in (".csv.gz", ".zip", ".json.gz", ".parquet", ".parquet.gz")])
def test_damaged_container_is_refused(tmp_path: Path, refused: Refused, name: str) -> None:
    path = tmp_path / name
    complete = gzip.compress(b"text,label\n" + b"a,b\n" * 10_000)
    path.write_bytes(complete[: len(complete) // 2] if name.endswith((".gz", ".zip")) else b"text,label\na,b\n")
    assert str(path) in refused(DATA, "train", "--data.train", path)


def test_unknown_file_types_and_missing_files_are_refused(tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "rows.doc").write_bytes(b"PK")
    assert ".csv .tsv .jsonl .json" in refused(DATA, "train", "--data.train", tmp_path / "rows.doc")
    assert "no such file" in refused(DATA, "train", "--data.train", tmp_path / "missing.csv")


def test_long_text_is_read_completely(tmp_path: Path) -> None:
    assert read_records(write_csv(tmp_path / "rows.csv", [("x" * 1_000_000, "a")])) == [("x" * 1_000_000, "a")]


def test_file_that_changes_between_two_reads_is_refused(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "rows.csv", [("one", "a"), ("two", "b")])
    rows = read_dataset(str(path), DataConfig(), split="train")
    write_csv(path, [("one", "a"), ("2", "b")])
    with pytest.raises(DataError, match="changed while it was being read"):
        list(rows.texts())
    write_csv(path, [("one", "a")])
    with pytest.raises(DataError, match="changed while it was being read"):
        list(rows.texts())


@pytest.mark.parametrize(
    ("content", "kind", "fix"),
    [
        (b"PK\x03\x04\x14\x00\x06\x00", "a zip archive or an Excel workbook", ".xlsx"),
        (gzip.compress(b"text,label\n"), "a gzip file", ".csv.gz"),
        (b"PAR1\x15\x04", "a Parquet file", ".parquet"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "an Excel workbook of the old kind", "save it as .xlsx or .csv"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
            "a pointer of Git LFS",
            "git lfs pull",
        ),
        (b"\n <!DOCTYPE HTML>\n<html>", "a web page", "download the file itself"),
    ],
    ids=["zip", "gzip", "parquet", "xls", "lfs", "html"],
)
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".json"])
def test_other_contents_than_the_name_says(
    tmp_path: Path, refused: Refused, suffix: str, content: bytes, kind: str, fix: str
) -> None:
    path = tmp_path / f"rows{suffix}"
    path.write_bytes(content)
    message = refused(DATA, "train", "--data.train", path)
    assert f"{path}: {kind}" in message
    assert fix in message


def test_excels_line_about_the_separator(tmp_path: Path, refused: Refused) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("sep=;\r\ntext;label\r\ngood, really;pos\r\nbad;neg\r\n")
    assert "--data.separator ';'" in refused(DATA, "train", "--data.train", path)
    assert read_records(path, separator=";") == [("good, really", "pos"), ("bad", "neg")]


def test_a_table_by_columns_is_told_how_to_be_written(tmp_path: Path, refused: Refused) -> None:
    path = tmp_path / "columns.json"
    path.write_text('{"text": {"0": "good", "1": "bad"}, "label": {"0": "pos", "1": "neg"}}')
    assert "to_json(orient='records')" in refused(DATA, "train", "--data.train", path)
