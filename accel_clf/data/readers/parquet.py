"""Parquet."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accel_clf.core.errors import DataError
from accel_clf.data.readers.containers import open_seekable
from accel_clf.data.readers.records import Record, Request, refuse_nul, require_columns, value_at
from accel_clf.data.rows import ArrowRow

if TYPE_CHECKING:
    import pyarrow


def records(request: Request) -> Iterator[Record]:
    """Read the records of a file, reduced to the requested columns, which may be inside of structs.

    Raises:
        DataError: the file is no Parquet, or a column is missing.
    """
    import pyarrow.parquet

    path, columns, kept = request.path, request.columns, request.kept
    with _explained(path), open_seekable(path) as source, pyarrow.parquet.ParquetFile(source) as file:
        names = file.schema_arrow.names
        roots = [column if column in names else column.partition(".")[0] for column in columns]
        for column, root in zip(columns, roots, strict=True):
            require_columns(path, names, [root if root in names else column])
        read = list(dict.fromkeys([*roots, *(name for name in kept or () if name in names)]))
        number = 0
        for batch in file.iter_batches(columns=read, batch_size=1024):
            rows = _values(request, batch, roots, number)
            if kept is not None and list(columns) != roots:  # what is inside of structs is kept beside them
                rows = iter(all_rows := list(rows))
                for column, root, values in zip(columns, roots, zip(*all_rows, strict=True), strict=True):
                    if column != root:
                        batch = batch.append_column(column, pyarrow.array(values))
            for index, values in enumerate(rows):
                number += 1
                yield number, values if kept is None else (*values, ArrowRow(batch, index))


def _values(
    request: Request, batch: "pyarrow.RecordBatch", roots: Sequence[str], number: int
) -> Iterator[tuple[Any, ...]]:
    """Iterate over the requested values of a batch, of which the columns are at `roots`, after `number` rows."""
    columns = request.columns
    for values in zip(*(batch.column(root).to_pylist() for root in roots), strict=True):
        number += 1
        if list(columns) != roots:
            values = tuple(
                value if column == root else _inner(request, {root: value}, column, number)
                for column, root, value in zip(columns, roots, values, strict=True)
            )
        for column, value in zip(columns, values, strict=True):
            if isinstance(value, str) and "\0" in value:
                raise refuse_nul(request.path, f"row {number}", column)
        yield values


def schema(request: Request) -> "pyarrow.Schema":
    """Return the Arrow schema of a file.

    Raises:
        DataError: the file is no Parquet.
    """
    import pyarrow.parquet

    with _explained(request.path), open_seekable(request.path) as source:
        return pyarrow.parquet.read_schema(source)


def names(request: Request) -> list[str]:
    """Return the names of a file's columns, see `schema`."""
    return list(schema(request).names)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn what Arrow raises of a damaged file into a DataError."""
    import pyarrow

    try:
        yield
    except FileNotFoundError:
        raise
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a Parquet file ({str(error).splitlines()[0]})") from None


def _inner(request: Request, value: object, column: str, number: int) -> object:
    try:
        return value_at(value, column)
    except KeyError as error:
        raise DataError(f"{request.path}, row {number}: no {error} in column {column!r}") from None
