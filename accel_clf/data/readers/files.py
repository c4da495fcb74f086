"""The reader that a path gets: by its name, and by its contents where that leaves it open."""

import gzip
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, NamedTuple

from accel_clf.core.errors import DataError
from accel_clf.data.readers import delimited, json_files, parquet, sheets, texts
from accel_clf.data.readers.containers import last_suffix, member_name
from accel_clf.data.readers.guesses import looks_utf8, refuse_other_kinds, undecodable
from accel_clf.data.readers.records import Record, Request
from accel_clf.data.rows import text_schema

if TYPE_CHECKING:
    import pyarrow


class Reader(NamedTuple):
    """What reads a kind of file.

    Attributes:
        unit: what its records are counted in.
        records: reads them.
        names: returns the names of all columns.
        are_texts: whether all values are text.
    """

    unit: str
    records: Callable[[Request], Iterator[Record]]
    names: Callable[[Request], Sequence[str]]
    are_texts: bool


ARRAY, FOLDER = "a JSON array", "a folder of class folders"  # the kinds that no suffix names
READERS = {
    ".csv": Reader("line", delimited.records, delimited.names, are_texts=True),
    ".tsv": Reader("line", delimited.records, delimited.names, are_texts=True),
    ".jsonl": Reader("line", json_files.line_records, json_files.line_names, are_texts=False),
    ".json": Reader("line", json_files.line_records, json_files.line_names, are_texts=False),
    ARRAY: Reader("row", json_files.array_records, json_files.array_names, are_texts=False),
    ".parquet": Reader("row", parquet.records, parquet.names, are_texts=False),
    ".xlsx": Reader("row", sheets.records, sheets.names, are_texts=False),
    ".txt": Reader("line", texts.line_records, texts.line_names, are_texts=True),
    FOLDER: Reader("file", texts.folder_records, lambda _: texts.FOLDER_COLUMNS, are_texts=True),
}
ENCODED = (".csv", ".tsv", ".jsonl", ".json", ARRAY, ".txt")  # files of characters
SUFFIXES = tuple(kind for kind in READERS if kind.startswith("."))
KINDS_OF_FILES = f"{' '.join(SUFFIXES)}, each also as .gz or .zip; or a folder of text files for each label"


def suffix_of(path: PurePath) -> str:
    """Return the suffix that names a file's kind: .csv for reviews.csv.gz, .zip for reviews.zip; "" for none."""
    suffix = last_suffix(path)
    if suffix not in (".gz", ".zip"):
        return suffix if suffix in SUFFIXES else ""
    inner = last_suffix(PurePath(path.stem))
    return inner if inner in SUFFIXES else ".zip" if suffix == ".zip" else ""


def is_local(source: str) -> bool:
    """Return whether a source is a file, existing or not, or a folder of class folders."""
    path = Path(source)
    return bool(suffix_of(path)) or path.is_file() or texts.is_class_folder(path)


def located(request: Request) -> Request:
    """Complete the kind of what is requested.

    Raises:
        DataError: it is none that can be read.
    """
    path = request.path
    if path.is_dir():
        if not texts.is_class_folder(path):
            raise DataError(f"{path}: a folder", f"a file: {KINDS_OF_FILES}")
        kind = FOLDER
    else:
        kind = suffix_of(path)
        with _explained(request, kind):
            if last_suffix(path) == ".zip":
                kind = suffix_of(name := member_name(path))
                if kind in ("", ".zip") or last_suffix(name) == ".gz":
                    raise DataError(f"{path}: contains {name.name}", f"one of {' '.join(SUFFIXES)}", "unpack it")
            request = replace(request, kind=kind)
            if kind in ENCODED and kind != ".txt":  # whose first text may be anything
                refuse_other_kinds(request)
            if kind == ".json" and json_files.starts_array(request):
                kind = ARRAY
    if kind not in READERS:
        fix = "save it as one of them" if path.suffix else "give it the suffix of its kind"
        raise DataError(f"{path}: unknown file type", f"one of {KINDS_OF_FILES}", fix)
    return replace(request, kind=kind)


def unit(request: Request) -> str:
    """Return what a file's records are counted in: "line", "row" or "file"."""
    return READERS[request.kind].unit


def read(request: Request) -> Iterator[Record]:
    """Read the records of a located file in order, reduced to the requested columns.

    Raises:
        DataError: the file is not as it should be; names the file and, where there is one, the line.
    """
    request.remarks.clear()
    if request.kind in ENCODED and looks_utf8(request):
        request.remarks[f"block read as {request.data.encoding} looks like utf-8: --data.encoding utf-8"] += 1
    with _explained(request, request.kind):
        yield from READERS[request.kind].records(request)


def names(request: Request) -> tuple[str, ...]:
    """Return the names of a located file's columns in order; those of JSON are the keys of all its objects.

    Raises:
        DataError: see `read`.
    """
    with _explained(request, request.kind):
        return tuple(READERS[request.kind].names(request))


def schema(request: Request) -> "pyarrow.Schema | None":
    """Return the Arrow schema of a located file; None where each value has a type of its own.

    Raises:
        DataError: see `read`.
    """
    if READERS[request.kind].are_texts:
        return text_schema(names(request))
    if request.kind != ".parquet":
        return None
    with _explained(request, request.kind):
        return parquet.schema(request)


@contextmanager
def _explained(request: Request, kind: str) -> Iterator[None]:
    """Make of errors of the system and of libraries what a user can mend."""
    path = request.path
    try:
        yield
    except FileNotFoundError:
        raise DataError(f"{path}: no such file", fix="check the path") from None
    except (gzip.BadGzipFile, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError) as error:
        name = last_suffix(path).removeprefix(".").replace("gz", "gzip")
        raise DataError(f"{path}: not a complete {name} file ({error})", fix="fetch or compress it again") from None
    except UnicodeDecodeError:
        used = delimited.separator(request) if kind in (".csv", ".tsv") else ""
        raise undecodable(request, used) from None
