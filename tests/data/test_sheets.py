"""Excel workbooks."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from accel_clf.core.errors import DataError
from accel_clf.core.exit_codes import DATA
from tests.conftest import read_records

openpyxl = pytest.importorskip("openpyxl")
Refused = Callable[..., str]


def workbook(path: Path, **sheets: Sequence[Sequence[Any]]) -> Path:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(list(row))
    book.save(path)
    return path


def test_cells_have_their_types(tmp_path: Path) -> None:
    rows = [
        ("text", "label", None, "x"),
        ('a, "b"\nc', "NA", None, 1),
        (),
        ("=d", 2, None, None),
        ("e", True, "y", 1.5),
    ]
    path = workbook(tmp_path / "rows.XLSX", notes=[], reviews=rows)
    assert read_records(path)[::2] == [('a, "b"\nc', "NA"), ("e", True)]
    assert read_records(path, ["x", "label"]) == [(1, "NA"), (None, 2), (1.5, True)]
    assert read_records(path, ["4"], header=False) == [("x",), (1,), (None,), (1.5,)]


def test_other_workbooks_are_refused(tmp_path: Path, refused: Refused) -> None:
    path = tmp_path / "rows.xlsx"
    for content, problem in (
        ({"a": [["text"]], "b": [["text"]]}, "2 sheets with cells: 'a', 'b'"),
        ({"a": []}, "empty"),
    ):
        assert problem in refused(DATA, "train", "--data.train", workbook(path, **content))
    with pytest.raises(DataError, match="row 1: no column 'label'"):
        read_records(workbook(path, a=[["text"], ["a"]]))
    path.write_bytes(b"text,label\n")
    assert "not an Excel workbook" in refused(DATA, "train", "--data.train", path)


def test_names_of_line_ends_are_line_ends(tmp_path: Path) -> None:
    path = workbook(tmp_path / "rows.xlsx", a=[["text"], ["a_x000D_\nb"]])
    assert read_records(path, ["text"]) == [("a\r\nb",)]
