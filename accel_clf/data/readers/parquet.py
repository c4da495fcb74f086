"""Parquet."""

from collections.abc import Iterator

from accel_clf.core.errors import DataError
from accel_clf.data.readers.containers import open_seekable
from accel_clf.data.readers.records import Record, Request, refuse_nul, require_columns, value_at


def records(request: Request) -> Iterator[Record]:
    """Read the records of a file, reduced to the requested columns, which may be inside of structs.

    Raises:
        DataError: the file is no Parquet, or a column is missing.
    """
    import pyarrow
    import pyarrow.parquet

    path, columns = request.path, request.columns
    try:
        with open_seekable(path) as source, pyarrow.parquet.ParquetFile(source) as file:
            names = file.schema_arrow.names
            roots = [column if column in names else column.partition(".")[0] for column in columns]
            for column, root in zip(columns, roots, strict=True):
                require_columns(path, names, [root if root in names else column])
            number = 0
            for batch in file.iter_batches(columns=list(dict.fromkeys(roots)), batch_size=1024):
                for values in zip(*(batch.column(root).to_pylist() for root in roots), strict=True):
                    number += 1
                    if list(columns) != roots:
                        values = tuple(
                            value if column == root else _inner(request, {root: value}, column, number)
                            for column, root, value in zip(columns, roots, values, strict=True)
                        )
                    for column, value in zip(columns, values, strict=True):
                        if isinstance(value, str) and "\0" in value:
                            raise refuse_nul(path, f"row {number}", column)
                    yield number, values
    except FileNotFoundError:
        raise
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a Parquet file ({str(error).splitlines()[0]})") from None


def _inner(request: Request, value: object, column: str, number: int) -> object:
    try:
        return value_at(value, column)
    except KeyError as error:
        raise DataError(f"{request.path}, row {number}: no {error} in column {column!r}") from None
