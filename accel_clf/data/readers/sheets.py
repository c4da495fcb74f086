"""Excel workbooks, by openpyxl."""

import importlib.util
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from accel_clf.core.errors import ConfigError, DataError
from accel_clf.data.readers.containers import open_seekable
from accel_clf.data.readers.records import Record, Request, distinct, refuse_nul, require_columns


def records(request: Request) -> Iterator[Record]:
    """Read the records of the only sheet that has any, reduced to the requested columns.

    Raises:
        DataError: the file is no workbook, several sheets have cells, or a column is missing.
        ConfigError: openpyxl is not installed.
    """
    with _only_sheet(request.path) as rows:
        yield from _records(request, rows)


def names(request: Request) -> list[str]:
    """Return the names of the columns of the only sheet, or their numbers where it has no header; see `records`."""
    with _only_sheet(request.path) as rows:
        _, first = next(rows)
    return distinct(_names(request, first), request)


@contextmanager
def _only_sheet(path: Path) -> Iterator[Iterator[tuple[int, tuple[Any, ...]]]]:
    """Open the rows of the only sheet that has any, with their numbers."""
    if not importlib.util.find_spec("openpyxl"):
        raise ConfigError(f"{path}: openpyxl is not installed", fix="pip install 'accel_clf[xlsx]'")
    from openpyxl import load_workbook
    from openpyxl.utils.exceptions import InvalidFileException

    with open_seekable(path) as source:
        try:
            with warnings.catch_warnings(action="ignore"):  # of styles and extensions, which hold no values
                book = load_workbook(source, read_only=True, data_only=True)
        except (zipfile.BadZipFile, InvalidFileException, KeyError, ValueError) as error:
            raise DataError(f"{path}: not an Excel workbook ({error})", "an .xlsx file") from None
        sheets = [sheet for sheet in book.worksheets if next(_rows(sheet), None)]
        if len(sheets) != 1:
            names = ", ".join(repr(sheet.title) for sheet in sheets)
            got = f"{len(sheets)} sheets with cells: {names}" if sheets else "an empty workbook"
            raise DataError(f"{path}: {got}", "one sheet", "save that with the rows as a file of its own")
        yield _rows(sheets[0])


def _rows(sheet: Any) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """Iterate over the rows that have a cell, with their numbers."""
    sheet.reset_dimensions()  # which some programs write wrong
    for number, row in enumerate(sheet.iter_rows(values_only=True), start=1):
        if any(value is not None for value in row):
            yield number, row


def _records(request: Request, rows: Iterator[tuple[int, tuple[Any, ...]]]) -> Iterator[Record]:
    path, columns = request.path, request.columns
    number, first = next(rows)
    names = _names(request, first)
    require_columns(path, names, columns, f", row {number}" if request.data.header else "")
    if not request.data.header:
        rows = chain([(number, first)], rows)
    all_names = [] if request.kept is None else distinct(names, request)
    indices = [names.index(column) for column in columns]
    for number, row in rows:
        # The empty cells at the end of a row are not in the file.
        cells = (*map(_as_typed, row[: len(names)]), *[None] * (len(names) - len(row)))
        values = tuple([cells[index] for index in indices])
        for column, value in zip(columns, values, strict=True):
            if isinstance(value, str) and "\0" in value:
                raise refuse_nul(path, f"row {number}", column)
        if all_names and (beyond := len(row[len(names) :]) - row[len(names) :].count(None)):
            request.remarks["cells left out that are beyond the header"] += beyond
        yield number, (*values, dict(zip(all_names, cells, strict=True))) if all_names else values


def _names(request: Request, first: tuple[Any, ...]) -> list[str]:
    if request.data.header:
        return ["" if name is None else str(name) for name in first]
    return [str(column) for column in range(1, len(first) + 1)]


def _as_typed(value: Any) -> Any:
    """Return what a cell shows: Excel writes a carriage return, which XML cannot hold, as _x000D_."""
    return value.replace("_x000D_", "\r") if isinstance(value, str) else value
