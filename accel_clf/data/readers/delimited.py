"""CSV and TSV.

Quotes are read in one of three ways: as the standard has it (RFC 4180), as letters (`data.quoting: none`), or, which is
the default for .tsv, as letters unless they enclose a whole field. In the last two a line is a row.
"""

import csv
import re
from collections import deque
from collections.abc import Iterator
from io import TextIOWrapper
from itertools import accumulate, chain
from operator import itemgetter
from typing import Any, cast

from accel_clf.core.errors import DataError
from accel_clf.data.readers.containers import open_text
from accel_clf.data.readers.guesses import looks_like
from accel_clf.data.readers.records import Record, Request, distinct, refuse_nul, require_columns

csv.field_size_limit(2**31 - 1)  # the default limit refuses texts over 128 KiB
SEPARATOR_LINE = re.compile("sep=.")  # Excel's: what separates the fields of the lines below
BLOCK = 1 << 16  # characters of lines that are read at a time

Row = tuple[int, list[str]]  # the line where it starts, and its fields


def separator(request: Request) -> str:
    """Return what separates the fields of a file."""
    return request.data.separator or ("\t" if request.kind == ".tsv" else ",")


def records(request: Request) -> Iterator[Record]:
    """Read the records of a file, reduced to the requested columns.

    Raises:
        DataError: a row is malformed, or a column is missing.
    """
    with open_text(request.path, request.data.encoding) as file:
        lines = _Lines(file)
        rows = _rows(request, lines)
        _, header = next(rows)
        hint = looks_like(request, separator(request)) if not set(request.columns) <= set(header) else ""
        note = ""
        if not hint and request.data.header and any(_is_no_name(name) for name in header):
            note = f" (or, if line 1 is a row, 1 to {len(header)} by --data.header false)"
        require_columns(request.path, header, request.columns, ", line 1", hint, note)
        indices = [header.index(column) for column in request.columns]
        pick = cast(Any, itemgetter(*indices) if len(indices) > 1 else lambda row: (row[indices[0]],))
        all_names = [] if request.kept is None else distinct(header, request)
        for line, row in rows:
            values = pick(row)
            for value in values:
                if "\0" in value:
                    column = request.columns[values.index(value)]
                    raise refuse_nul(request.path, f"line {line}", column)
                if value[:1] == " " and value.lstrip(" ")[:1] == '"':
                    _check_blanks(request, lines.text(line), row, line)
            yield line, (*values, dict(zip(all_names, row, strict=True))) if all_names else values


def names(request: Request) -> list[str]:
    """Return the names of a file's columns: its header's, or their numbers where it has none.

    Raises:
        DataError: the first line is malformed.
    """
    with open_text(request.path, request.data.encoding) as file:
        _, header = next(_rows(request, _Lines(file)))
    return distinct(header, request)


def _is_no_name(name: str) -> bool:
    """Return whether a column's name looks like a label or a text, as in the first row of a file without a header."""
    return name.strip().lstrip("-").isdigit() or len(name.split()) > 3


class _Lines:
    """The lines of a file for a csv reader, at its speed; those read last are at hand for messages."""

    def __init__(self, file: TextIOWrapper) -> None:
        self._file = file
        self._blocks: deque[tuple[int, list[str]]] = deque(maxlen=2)  # the number of the first line, the lines
        self.line_num = 0

    def __iter__(self) -> Iterator[str]:
        return chain.from_iterable(self._read())

    def _read(self) -> Iterator[list[str]]:
        while lines := self._file.readlines(BLOCK):
            self._blocks.append((self.line_num + 1, lines))
            self.line_num += len(lines)
            yield lines

    def text(self, line: int, last: int | None = None) -> str:
        """Return the lines from `line` to `last`, as far as they are at hand."""
        last = line if last is None else last
        return "".join(
            text for first, lines in self._blocks for number, text in enumerate(lines, first) if line <= number <= last
        )


def _rows(request: Request, lines: _Lines) -> Iterator[Row]:
    """Read all rows of a file; the first are its columns' names."""
    path, header = request.path, request.data.header
    quoting = request.data.quoting or ("whole" if request.kind == ".tsv" else "standard")
    reader: Any
    if quoting == "standard":
        # strict: a file that ends inside quotes would otherwise be read as one long last field.
        reader = csv.reader(lines, delimiter=separator(request), strict=True)
    else:
        reader = _LineRows(request, lines, quoting == "whole")
    line = 1  # where the current record starts
    try:
        first = next(reader, None)
        if header and first and SEPARATOR_LINE.fullmatch(separator(request).join(first)):
            first = next(reader, None)
        if not first:
            problem = "an empty file" if first is None else "line 1 is empty"
            raise DataError(f"{path}: {problem}", "a header line" if header else "a row in each line")
        width = len(first)
        if quoting != "standard":
            reader.width = width
        yield 1, first if header else [str(number) for number in range(1, width + 1)]
        if not header:
            yield 1, first
        line = reader.line_num + 1
        for row in reader:
            if len(row) == width:
                yield line, row
            elif row:  # an empty line is no record
                raise _wrong_width(request, lines, reader, row, width, line)
            line = reader.line_num + 1
    except csv.Error as error:
        problem = "a quoted field that is never closed" if "unexpected end" in str(error) else str(error)
        fix = 'a quote inside a quoted field is written twice: ""; where quotes are letters, --data.quoting none'
        if '\\"' in lines.text(line, reader.line_num):
            problem = f'{problem}: quotes are escaped by backslashes (\\")'
            fix = 'a quote inside a quoted field is written twice: ""'
        raise DataError(f"{path}, line {line}: {problem}", fix=fix) from None


def _wrong_width(request: Request, lines: _Lines, reader: Any, row: list[str], width: int, line: int) -> DataError:
    """Make the error of a row that has not as many fields as the first."""
    text = lines.text(line, reader.line_num)
    if isinstance(reader, _LineRows):
        if reader.opened is not None:
            return reader.several_lines()
        fix = "remove the separator from the text, or put quotes around it, and --data.quoting standard"
    else:
        _check_blanks(request, text, row, line)
        fix = "put quotes around a text that contains the separator, and double quotes inside it"
        if '\\"' in text:
            fix = 'a quote inside a quoted field is written twice ("") and not by a backslash (\\")'
    expected = f"{width}, as in {'the header' if request.data.header else 'line 1'}"
    return DataError(f"{request.path}, line {line}: {len(row)} fields", expected, fix)


def _check_blanks(request: Request, text: str, row: list[str], line: int) -> None:
    """Refuse a row whose fields have a blank before the quote that opens them, which makes that a letter.

    Args:
        request: the file's.
        text: of the row, as far as it is at hand.
        row: its fields.
        line: where it starts.

    Raises:
        DataError: it has such a field.
    """
    if request.data.quoting == "none" or (request.data.quoting is None and request.kind == ".tsv"):
        return
    try:
        stripped = next(csv.reader(text.splitlines(True), delimiter=separator(request), skipinitialspace=True), row)
    except csv.Error:
        stripped = []
    has_blank = re.search(rf'(^|{re.escape(separator(request))}) +"', text)
    blank_matters = len(stripped) != len(row) or any(
        field.lstrip(" ")[:1] == '"' and field != other for field, other in zip(row, stripped, strict=True)
    )
    if has_blank and blank_matters:
        raise DataError(
            f"{request.path}, line {line}: a blank between a separator and a quote, which is no quoted field",
            f'"a"{separator(request)}"b"',
            "remove the blanks after separators; where quotes are letters, --data.quoting none",
        )


class _LineRows:
    """The rows of a file in which each line is one; to be read as a csv.reader.

    Attributes:
        line_num: the number of lines read.
        width: the number of fields in a row, once that is known.
        opened: the line with a quote that opens a field and does not close it, if it may be more than a letter.
    """

    def __init__(self, request: Request, lines: _Lines, unquotes: bool) -> None:
        self._request, self._lines, self._separator = request, iter(lines), separator(request)
        self._unquotes = unquotes
        mark = re.escape(self._separator)
        self._field = re.compile(rf'"((?:[^"]|"")*)"(?={mark}|\Z)|([^{mark}]*)')
        self._unclosed = re.compile(r'"((?:[^"]|"")*)\Z')
        self._closing = re.compile(r'(?:[^"]|"")*"\Z')
        self.line_num = 0
        self.width: int | None = None
        self.opened: int | None = None

    def __iter__(self) -> "_LineRows":
        return self

    def __next__(self) -> list[str]:
        line = next(self._lines).rstrip("\r\n")
        self.line_num += 1
        if not line:
            return []
        fields = line.split(self._separator)
        if self._unquotes and '"' in line:
            return self._unquote(line, fields)
        if self.width == len(fields) > 1:
            self.opened = None
        return fields

    def _unquote(self, line: str, fields: list[str]) -> list[str]:
        """Remove the quotes around whole fields, which may contain the separator, and double quotes inside them."""
        quoted: list[str] = []
        starts: list[int] = []  # of the fields
        position = 0
        while position <= len(line):
            match = self._field.match(line, position)
            assert match, "any text is a field"
            quoted.append(match[2] if match[1] is None else match[1].replace('""', '"'))
            starts.append(position)
            position = match.end() + 1
        row = quoted
        if len(quoted) != self.width and len(fields) == self.width:
            row = fields
            starts = list(accumulate((len(field) + 1 for field in fields[:-1]), initial=0))
        fits = self.width in (len(row), None)
        unclosed = next((match for start in starts if (match := self._unclosed.match(line, start))), None)
        if self.width == 1 and self.opened is not None and not unclosed and self._closing.match(line):
            raise self.several_lines()
        if unclosed and (fits or self.opened is None):
            self.opened = self.line_num
            if fits and '""' in unclosed[1]:  # as the standard writes quotes in a quoted field
                raise self.several_lines()
            self._request.remarks["fields that a quote opens and none closes: quotes are read as letters there"] += 1
        elif fits and self.width != 1:
            self.opened = None
        return row

    def several_lines(self) -> DataError:
        """Make the error of a quoted field that goes on in the next line."""
        return DataError(
            f"{self._request.path}, line {self.opened}: a quote opens a field that does not end in this line",
            "a row in each line",
            "--data.quoting standard where quotes enclose texts of several lines, --data.quoting none where they are "
            "letters",
        )
