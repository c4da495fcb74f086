"""Rows with their other columns, which predictions keep beside the answer."""

import base64
import datetime
import decimal
import json
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from accel_clf.core.chunks import chunks
from accel_clf.core.errors import DataError
from accel_clf.data.texts import Text, side_names, sides

if TYPE_CHECKING:
    import pyarrow

TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")  # of the files that answers are written to
CHUNK_ROWS = 1024  # whose types are inferred together
# What Arrow raises where values have no type in common: its own errors are ValueErrors, TypeErrors or, as these two are
# as well, of Python.
ARROW_MISFITS = (ValueError, TypeError, OverflowError, NotImplementedError)


class ArrowRow(NamedTuple):
    """A row of Arrow's: its values are in their types, which Python does not have all of.

    Attributes:
        batch: the rows that it is among.
        position: its own.
    """

    batch: "pyarrow.RecordBatch"
    position: int


class Row(NamedTuple):
    """A row to predict.

    Attributes:
        location: where it is, for messages.
        text: to label, or a pair.
        cells: column -> value.
    """

    location: str
    text: Text
    cells: Mapping[str, Any] | ArrowRow

    def value(self, column: str) -> Any:
        """Return a column's value; None where the row has none."""
        if isinstance(self.cells, ArrowRow):
            return self.cells.batch.column(column)[self.cells.position].as_py()
        return self.cells.get(column)

    def values(self, columns: Collection[str]) -> dict[str, Any]:
        """Return those of the columns that the row has, as values of JSON: dates and decimals as text, NaN as null."""
        if isinstance(self.cells, ArrowRow):
            return {name: _json_value(self.value(name)) for name in columns}
        return {name: _json_value(value) for name, value in self.cells.items() if name in columns}

    def texts(self, columns: Sequence[str]) -> list[str]:
        """Return the columns as cells of CSV: what is no text as JSON has it; empty where there is no value.

        Raises:
            DataError: a text is not Unicode.
        """
        texts = [_cell_text(_json_value(self.value(name))) for name in columns]
        for name, text in zip(columns, texts, strict=True):
            if not text.isascii():
                self._check_text(text, name)
        return texts

    def _check_text(self, text: str, column: str) -> None:
        try:
            text.encode()
        except UnicodeEncodeError:
            raise DataError(
                f"{self.location}: a lone surrogate in column {column!r}", "Unicode text", "write to a .jsonl"
            ) from None


@dataclass(frozen=True)
class TextRows:
    """The rows of a source that are to be predicted.

    Attributes:
        origin: the name of the source, for messages.
        columns: those kept, in the source's order; JSON lines need not have all of them.
        texts: the columns with the texts, which are among them.
        stream: reads the rows.
        schema: makes the Arrow schema of the columns.
        notes: says what a user should know, once all rows have been read.
    """

    origin: str
    columns: tuple[str, ...]
    texts: tuple[str, ...]
    stream: Callable[[], Iterator[Row]]
    schema: Callable[[], "pyarrow.Schema"]
    notes: Callable[[], tuple[str, ...]] = tuple

    @classmethod
    def of_texts(
        cls, texts: Callable[[], Iterable[Text]], are_pairs: bool = False, location: str = "text"
    ) -> "TextRows":
        """Make rows of texts alone, or of pairs, under the names that pipelines have for them.

        Args:
            texts: each call starts at the first.
            are_pairs: whether each is a pair.
            location: of each, before its number, for messages.
        """
        names = side_names(are_pairs)
        return cls(
            origin="texts",
            columns=names,
            texts=names,
            stream=lambda: (
                Row(f"{location} {number}", text, dict(zip(names, sides(text), strict=True)))
                for number, text in enumerate(texts(), start=1)
            ),
            schema=lambda: text_schema(names),
        )


def text_schema(columns: Sequence[str]) -> "pyarrow.Schema":
    """Return the Arrow schema of columns that are all text, as a CSV file's are."""
    import pyarrow

    return pyarrow.schema([(name, pyarrow.string()) for name in columns])


def infer_schema(rows: Iterator[Row], columns: Sequence[str]) -> "pyarrow.Schema":
    """Return the Arrow schema of columns whose values have types of their own, as JSON's and a workbook's have.

    Raises:
        DataError: values of a column do not have one type.
    """
    import pyarrow

    types = dict.fromkeys(columns, pyarrow.null())
    for chunk in chunks(rows, CHUNK_ROWS):
        for name, kind in types.items():
            try:
                types[name] = _type_with(kind, [row.value(name) for row in chunk])
            except ARROW_MISFITS:
                raise _explain_misfit(chunk, name, kind) from None
    return pyarrow.schema(list(types.items()))


def _type_with(kind: "pyarrow.DataType", values: Sequence[Any]) -> "pyarrow.DataType":
    """Return the type of values and of those that have another type."""
    import pyarrow

    types = (kind, pyarrow.array(values).type)
    fields = [pyarrow.schema([("value", each)]) for each in types]
    return pyarrow.unify_schemas(fields, promote_options="permissive").field(0).type


def _explain_misfit(rows: Sequence[Row], column: str, kind: "pyarrow.DataType") -> DataError:
    """Return the error that names the first of some rows whose value is of another type than those before it."""
    for row in rows:
        try:
            kind = _type_with(kind, [row.value(column)])
        except ARROW_MISFITS as error:
            return no_arrow_type(row, column, error)
    return no_arrow_type(rows[0], column, "different types")


def no_arrow_type(row: Row, column: str, reason: object) -> DataError:
    """Return the error that a column's values do not have one type.

    Args:
        row: the first whose value does not fit.
        column: its name.
        reason: why.
    """
    return DataError(
        f"{row.location}: the values of column {column!r} do not have one type ({str(reason).splitlines()[0]})",
        "values of one type, which Parquet needs",
        "write to a .jsonl, or leave the column out: --keep names those to keep",
    )


def _cell_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def _json_value(value: Any) -> Any:
    """Return what Arrow or a workbook holds as a value of JSON."""
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(item) for item in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    return str(value)
