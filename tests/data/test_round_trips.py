"""Every kind of file gives back hostile texts as they were written by its usual library."""

import csv
import gzip
import io
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from accel_clf.core.errors import DataError
from tests.conftest import read_records

PIECES = [
    '"', '""', "'", "\\", '\\"', ",", ", ", ' "', "; ", "\t", "\n", "\r\n", "\r", "\n\n", " ", "\ufeff", "|", "#",
    "=1+1",
    "NA", "null", "[", "]", "{", "}", "a", "film", "größe", "\U0001f600", "\U0001f468\u200d\U0001f469", "שלום",
    "\u202eabc", "مرحبا", "\u2028", "\x85", "\x0b", "\x1c", "é", "e\u0301", "_x000D_", "&amp;", "<t>", "0", "1e9",
]  # fmt: skip


def hostile_texts(keep: Callable[[str], str] = lambda piece: piece, longest: int = 1 << 20) -> list[str]:
    """2,000 texts of up to eight pieces, and a long one."""
    rng = random.Random(0)
    texts = ["".join(map(keep, rng.choices(PIECES, k=rng.randrange(9)))) for _ in range(1_999)]
    return [*texts[:500], "".join(map(keep, rng.choices(PIECES, k=longest)))[:longest], *texts[500:]]


def table(texts: list[str], separator: str) -> bytes:
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=separator).writerows([("label", "text"), *(("x", text) for text in texts)])
    return file.getvalue().encode()


def parquet(texts: list[str]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"label": ["x"] * len(texts), "text": texts}), file)
    return file.getvalue()


def objects(texts: list[str]) -> list[str]:
    return [json.dumps({"label": "x", "text": text}, ensure_ascii=number % 2 == 0) for number, text in enumerate(texts)]


WRITERS: dict[str, Callable[[list[str]], bytes]] = {
    ".csv": lambda texts: table(texts, ","),
    ".tsv": lambda texts: table(texts, "\t"),
    ".jsonl": lambda texts: "\n".join(objects(texts)).encode(),
    ".json": lambda texts: f"[{', '.join(objects(texts))}]".encode(),
    ".parquet": parquet,
}


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("compressed", ["", ".gz", ".zip"])
def test_texts_survive(tmp_path: Path, suffix: str, compressed: str) -> None:
    texts, path = hostile_texts(), tmp_path / f"rows{suffix}{compressed}"
    content = WRITERS[suffix](texts)
    if compressed == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(f"rows{suffix}", content)
    else:
        path.write_bytes(gzip.compress(content, 1) if compressed else content)
    assert read_records(path, ["text", "label"], quoting="standard") == [(text, "x") for text in texts]


@pytest.mark.parametrize("quoting", [None, "none"])
def test_texts_of_one_line_survive_in_tsv(tmp_path: Path, quoting: str | None) -> None:
    """As written by the csv module, and as letters; a text of several lines is never taken for another."""
    texts = hostile_texts(lambda piece: " " if {*piece} & {*"\r\n"} or (piece == "\t" and quoting) else piece)
    path = tmp_path / "rows.tsv"
    letters = "".join(f"x\t{text}\n" for text in ["text", *texts]).replace("x\ttext", "label\ttext", 1)
    path.write_bytes(letters.encode() if quoting else table(texts, "\t"))
    assert read_records(path, ["text", "label"], quoting=quoting) == [(text, "x") for text in texts]


def test_texts_of_several_lines_are_refused_in_tsv(tmp_path: Path) -> None:
    path = tmp_path / "rows.tsv"
    texts = [text for text in hostile_texts(longest=1_000) if {*text} & {*"\r\n"} and "\t" not in text]
    assert len(texts) > 500
    for text in texts:
        path.write_bytes(table(["fine", text, "fine"], "\t"))
        with pytest.raises(DataError, match="line 3: "):
            read_records(path, ["text", "label"])


def test_texts_survive_in_a_workbook(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    # Excel's limits: 32,767 characters in a cell, and no control characters; "=" is a formula's.
    unfit = {*"\r\x0b\x1c\x85="}
    texts = hostile_texts(lambda piece: "-" if {*piece} & unfit or piece in ("NA", "_x000D_") else piece, 32_767)
    texts = [text or "-" for text in texts]
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet()
    for row in [("label", "text"), *(("x", text) for text in texts)]:
        sheet.append(row)
    book.save(tmp_path / "rows.xlsx")
    assert read_records(tmp_path / "rows.xlsx", ["text", "label"]) == [(text, "x") for text in texts]


def test_texts_survive_as_lines_and_as_files(tmp_path: Path) -> None:
    texts = hostile_texts(lambda piece: " " if {*piece} & {*"\r\n"} else piece)
    path = tmp_path / "texts.txt"
    path.write_bytes("".join(f"{text}\n" for text in texts).encode("utf-8-sig"))
    assert read_records(path, ["text"]) == [(text,) for text in texts]
    texts = hostile_texts()
    for number, text in enumerate(texts):
        file = tmp_path / "folder" / f"label {number % 2}" / f"{number:04d}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode("utf-8-sig"))
    expected = [(text, f"label {half}") for half in (0, 1) for text in texts[half::2]]
    assert read_records(tmp_path / "folder") == expected
