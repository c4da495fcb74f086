"""Strict readers of local files: CSV, TSV, JSON Lines and Parquet, optionally gzipped, record by record.

Each record comes with its line number (Parquet: its row number), so that errors in it can be located. Nothing is
guessed: fields stay as written ("NA" and "01", too), and whatever does not fit is an error with file and line.
"""

import codecs
import csv
import gzip
import io
import json
import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, cast

from accel_clf.core.errors import DataError, closest

Record = tuple[int, tuple[Any, ...]]  # the line number, and the values of the requested columns
SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
csv.field_size_limit(2**31 - 1)  # the default limit refuses texts over 128 KiB


def format_suffix(path: Path) -> str:
    """Return the suffix that selects the reader: .csv for reviews.csv.gz; "" if it is not in SUFFIXES."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    return suffixes[-1] if suffixes and suffixes[-1] in SUFFIXES else ""


def read(path: Path, columns: Sequence[str]) -> Iterator[Record]:
    """Read the records of a file in order, reduced to `columns`.

    Raises:
        DataError: the file is not as it should be; names the file and, where there is one, the line.
    """
    readers: dict[str, Callable[[Path, Sequence[str]], Iterator[Record]]] = {
        ".csv": _read_csv,
        ".tsv": _read_csv,
        ".jsonl": _read_jsonl,
        ".parquet": _read_parquet,
    }
    if format_suffix(path) not in readers:
        raise DataError(f"{path}: unknown file type", f"one of {' '.join(SUFFIXES)}, optionally followed by .gz")
    try:
        yield from readers[format_suffix(path)](path, columns)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file", fix="check the path") from None
    except IsADirectoryError:
        raise DataError(f"{path}: a folder", f"a file: {' '.join(SUFFIXES)}") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: not a complete gzip file ({error})", fix="fetch or compress it again") from None
    except UnicodeDecodeError:
        raise _encoding_error(path) from None


def column_names(path: Path) -> tuple[str, ...]:
    """Return the names of the columns of a file that has been read; of JSON Lines, the keys of the first record."""
    names: list[str] = []
    suffix = format_suffix(path)
    if suffix == ".parquet":
        import pyarrow.parquet

        with _open_binary(path) as source, pyarrow.parquet.ParquetFile(source) as table:
            names = table.schema_arrow.names
    else:
        with _open_text(path) as file:
            if suffix == ".jsonl":
                names = list(json.loads(next(line for line in file if line.strip())))
            else:
                names = next(csv.reader(file, dialect="excel-tab" if suffix == ".tsv" else "excel"))
    return tuple(names)


def require_columns(path: Path | str, names: Sequence[str], columns: Sequence[str], location: str = "") -> None:
    """Check that a table has the requested columns.

    Args:
        path: the table, for messages.
        names: the columns that it has.
        columns: those that were requested.
        location: of the header, for messages.

    Raises:
        DataError: a column is missing.
    """
    for column in columns:
        if column not in names:
            choices = ", ".join(repr(name) for name in names[:20])
            hint = (
                closest(column, names)
                or "name the right one by --data.text or --data.label (`predict`, `evaluate`: --text, --label)"
            )
            if len(names) == 1 and any(separator in names[0] for separator in ";\t|"):
                hint = "the fields seem to have another separator than this file type (.csv comma, .tsv tab)"
            raise DataError(f"{path}{location}: no column {column!r}", f"one of {choices}", hint)


def _open_binary(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path, "rb")) if path.suffix.lower() == ".gz" else path.open("rb")


def _open_text(path: Path) -> io.TextIOWrapper:
    # newline="" keeps line ends inside quoted fields; utf-8-sig drops a byte-order mark.
    return io.TextIOWrapper(_open_binary(path), encoding="utf-8-sig", newline="")


def _encoding_error(path: Path) -> DataError:
    """Explain where a file is not UTF-8, and what it probably is. Reads it again to find the offset."""
    with _open_binary(path) as file:
        start = file.read(4)
        for mark, name in ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")):
            if start.startswith(mark):
                return DataError(
                    f"{path}: encoded as UTF-16 (byte-order mark at offset 0)",
                    "UTF-8",
                    f"iconv -f {name} -t utf-8 {path} > converted{format_suffix(path)}",
                )
    offset, line = 0, 1
    with _open_binary(path) as file:
        for raw in file:
            try:
                raw.decode("utf-8")
            except UnicodeDecodeError as error:
                offset += error.start
                return DataError(
                    f"{path}, line {line}: byte 0x{raw[error.start]:02x} at offset {offset} is not UTF-8 "
                    "(it may be cp1252 or latin-1)",
                    "UTF-8",
                    f"iconv -f cp1252 -t utf-8 {path} > converted{format_suffix(path)}",
                )
            offset += len(raw)
            line += 1
    return DataError(f"{path}: not UTF-8", "UTF-8")


def _read_csv(path: Path, columns: Sequence[str]) -> Iterator[Record]:
    with _open_text(path) as file:
        # strict: a file that ends inside quotes would otherwise be read as one long last field.
        rows = csv.reader(file, dialect="excel-tab" if format_suffix(path) == ".tsv" else "excel", strict=True)
        line = 1  # where the current record starts
        try:
            header = next(rows, None)
            if not header:
                raise DataError(f"{path}: {'an empty file' if header is None else 'line 1 is empty'}", "a header line")
            duplicates = sorted({name for name in header if header.count(name) > 1})
            if duplicates:
                raise DataError(f"{path}, line 1: column {duplicates[0]!r} appears twice", "each name once")
            require_columns(path, header, columns, ", line 1")
            indices = [header.index(column) for column in columns]
            line = rows.line_num + 1
            for row in rows:
                if len(row) != len(header):
                    if row:  # an empty line is no record
                        raise DataError(
                            f"{path}, line {line}: {len(row)} fields",
                            f"{len(header)}, as in the header",
                            "put quotes around a text that contains the separator, and double quotes inside it",
                        )
                else:
                    yield line, tuple(row[index] for index in indices)
                line = rows.line_num + 1
        except csv.Error as error:
            problem = "a quoted field that is never closed" if "unexpected end" in str(error) else str(error)
            raise DataError(
                f"{path}, line {line}: {problem}", fix='a quote inside a quoted field is written twice: ""'
            ) from None


def parse_json(text: str) -> Any:
    """Parse JSON exactly as its standard says.

    Raises:
        ValueError: anything else, such as NaN, duplicate keys, infinite numbers or too deep nesting.
    """

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        parsed = dict(pairs)
        if len(parsed) < len(pairs):
            keys = [key for key, _ in pairs]
            raise ValueError(f"key {next(key for key in keys if keys.count(key) > 1)!r} appears twice")
        return parsed

    def finite(digits: str) -> float:
        if math.isinf(number := float(digits)):
            raise ValueError(f"{digits[:20]} is too large for a number")
        return number

    try:
        return json.loads(text, parse_constant=refuse, parse_float=finite, object_pairs_hook=unique_keys)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _read_jsonl(path: Path, columns: Sequence[str]) -> Iterator[Record]:
    with _open_text(path) as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                record = parse_json(line)
            except ValueError as error:
                raise DataError(f"{path}, line {number}: not JSON ({error})", "one object per line") from None
            if not isinstance(record, dict):
                raise DataError(f"{path}, line {number}: {type(record).__name__}", "an object: {...}")
            require_columns(path, list(record), columns, f", line {number}")
            yield number, tuple(record[column] for column in columns)


def _read_parquet(path: Path, columns: Sequence[str]) -> Iterator[Record]:
    import pyarrow
    import pyarrow.parquet

    try:
        with _open_binary(path) as source, pyarrow.parquet.ParquetFile(source) as file:
            names = file.schema_arrow.names
            require_columns(path, names, columns)
            duplicates = [name for name in columns if names.count(name) > 1]
            if duplicates:
                raise DataError(f"{path}: column {duplicates[0]!r} appears twice", "each name once")
            number = 0
            for batch in file.iter_batches(columns=list(columns), batch_size=1024):
                for values in zip(*(batch.column(name).to_pylist() for name in columns), strict=True):
                    number += 1
                    yield number, values
    except FileNotFoundError:
        raise
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a Parquet file ({str(error).splitlines()[0]})") from None
