"""Strict readers of local files: CSV, TSV, JSONL and Parquet, gzip too, a record at a time.

Each record comes with its line (Parquet: its row), so that whatever is wrong with it can be found. Nothing is guessed:
fields stay as written ("NA" and "01" too), and what does not fit is an error with file and line.
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

Record = tuple[int, tuple[Any, ...]]  # line, and the values of the wanted columns
SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
csv.field_size_limit(2**31 - 1)  # the module's own limit refuses texts over 128 KiB


def kind(path: Path) -> str:
    """The suffix that decides the reader: reviews.csv.gz -> .csv; "" for none of SUFFIXES."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    if suffixes and suffixes[-1] == ".gz":
        suffixes.pop()
    return suffixes[-1] if suffixes and suffixes[-1] in SUFFIXES else ""


def read(path: Path, columns: Sequence[str]) -> Iterator[Record]:
    """The records of a file, in order, reduced to `columns`.

    Raises:
        DataError: with file and line, for anything that is not as it should be.
    """
    readers: dict[str, Callable[[Path, Sequence[str]], Iterator[Record]]] = {
        ".csv": _read_csv,
        ".tsv": _read_csv,
        ".jsonl": _read_jsonl,
        ".parquet": _read_parquet,
    }
    if kind(path) not in readers:
        raise DataError(f"{path}: a file of an unknown kind", f"one of {' '.join(SUFFIXES)}, or with .gz after it")
    try:
        yield from readers[kind(path)](path, columns)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file", fix="check the path") from None
    except IsADirectoryError:
        raise DataError(f"{path}: a folder", f"a file: {' '.join(SUFFIXES)}") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: not a whole gzip file ({error})", fix="fetch or compress it again") from None
    except UnicodeDecodeError:
        raise _encoding_error(path) from None


def require(path: Path | str, found: Sequence[str], columns: Sequence[str], place: str = "") -> None:
    """Check that a table has the columns that were asked for."""
    for column in columns:
        if column not in found:
            shown = ", ".join(repr(name) for name in found[:20])
            hint = (
                closest(column, found)
                or "name the right one by --data.text or --data.label (`predict`, `evaluate`: --text, --label)"
            )
            if len(found) == 1 and any(mark in found[0] for mark in ";\t|"):
                hint = (
                    "the fields seem to be parted by something else than this kind of file has (.csv comma, .tsv tab)"
                )
            raise DataError(f"{path}{place}: no column {column!r}", f"one of {shown}", hint)


def _open(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path, "rb")) if path.suffix.lower() == ".gz" else path.open("rb")


def _text(path: Path) -> io.TextIOWrapper:
    # newline="" leaves line ends inside quoted fields alone; utf-8-sig drops a byte-order mark.
    return io.TextIOWrapper(_open(path), encoding="utf-8-sig", newline="")


def _encoding_error(path: Path) -> DataError:
    """Say where a file stops being UTF-8, and what it probably is. Reads it once more, to know the offset."""
    with _open(path) as file:
        start = file.read(4)
        for mark, name in ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")):
            if start.startswith(mark):
                return DataError(
                    f"{path}: encoded as UTF-16 (byte-order mark at offset 0)",
                    "UTF-8",
                    f"iconv -f {name} -t utf-8 {path} > converted{kind(path)}",
                )
    offset, line = 0, 1
    with _open(path) as file:
        for raw in file:
            try:
                raw.decode("utf-8")
            except UnicodeDecodeError as error:
                offset += error.start
                return DataError(
                    f"{path}, line {line}: byte 0x{raw[error.start]:02x} at offset {offset} is not UTF-8 "
                    "(it may be cp1252 or latin-1)",
                    "UTF-8",
                    f"iconv -f cp1252 -t utf-8 {path} > converted{kind(path)}",
                )
            offset += len(raw)
            line += 1
    return DataError(f"{path}: not UTF-8", "UTF-8")


def _read_csv(path: Path, columns: Sequence[str]) -> Iterator[Record]:
    with _text(path) as file:
        # A file that ends inside quotes would otherwise be one long last field.
        rows = csv.reader(file, dialect="excel-tab" if kind(path) == ".tsv" else "excel", strict=True)
        start = 1
        try:
            header = next(rows, None)
            if not header:
                raise DataError(f"{path}: {'an empty file' if header is None else 'line 1 is empty'}", "a header line")
            doubled = sorted({name for name in header if header.count(name) > 1})
            if doubled:
                raise DataError(f"{path}, line 1: column {doubled[0]!r} stands twice", "each name once")
            require(path, header, columns, ", line 1")
            wanted = [header.index(column) for column in columns]
            start = rows.line_num + 1
            for row in rows:
                if len(row) != len(header):
                    if row:  # a line with nothing on it is no record
                        raise DataError(
                            f"{path}, line {start}: {len(row)} fields",
                            f"{len(header)}, as in the header",
                            "put quotes around a text that holds a separator, and double quotes inside it",
                        )
                else:
                    yield start, tuple(row[place] for place in wanted)
                start = rows.line_num + 1
        except csv.Error as error:
            problem = "a quoted field that is never closed" if "unexpected end" in str(error) else str(error)
            raise DataError(
                f"{path}, line {start}: {problem}", fix='a quote inside a quoted field is written twice: ""'
            ) from None


def parse_json(text: str) -> Any:
    """JSON by the letter of its standard.

    Raises:
        ValueError: for all else: NaN, a key that stands twice, nesting or numbers without end.
    """

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    def each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            keys = [key for key, _ in pairs]
            raise ValueError(f"key {next(key for key in keys if keys.count(key) > 1)!r} stands twice")
        return found

    def finite(digits: str) -> float:
        if math.isinf(number := float(digits)):
            raise ValueError(f"{digits[:20]} is larger than a number can be")
        return number

    try:
        return json.loads(text, parse_constant=refuse, parse_float=finite, object_pairs_hook=each_key_once)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _read_jsonl(path: Path, columns: Sequence[str]) -> Iterator[Record]:
    with _text(path) as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                record = parse_json(line)
            except ValueError as error:
                raise DataError(f"{path}, line {number}: not JSON ({error})", "one object a line") from None
            if not isinstance(record, dict):
                raise DataError(f"{path}, line {number}: {type(record).__name__}", "an object: {...}")
            require(path, list(record), columns, f", line {number}")
            yield number, tuple(record[column] for column in columns)


def _read_parquet(path: Path, columns: Sequence[str]) -> Iterator[Record]:
    import pyarrow
    import pyarrow.parquet

    try:
        with _open(path) as source, pyarrow.parquet.ParquetFile(source) as file:
            names = file.schema_arrow.names
            require(path, names, columns)
            doubled = [name for name in columns if names.count(name) > 1]
            if doubled:
                raise DataError(f"{path}: column {doubled[0]!r} stands twice", "each name once")
            number = 0
            for batch in file.iter_batches(columns=list(columns), batch_size=1024):
                for values in zip(*(batch.column(name).to_pylist() for name in columns), strict=True):
                    number += 1
                    yield number, values
    except FileNotFoundError:
        raise
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a Parquet file ({str(error).splitlines()[0]})") from None
