"""What a file looks like that does not fit the settings: for messages, nothing is read by a guess."""

import codecs
import csv
import shlex
from collections.abc import Sequence

from accel_clf.core.errors import DataError
from accel_clf.data.readers.containers import open_binary
from accel_clf.data.readers.records import Request

SAMPLE = 1 << 16  # bytes at the start of a file that a guess goes by
SEPARATORS = {",": ",", ";": ";", "\t": "tab", "|": "|"}

# What files begin with, in lower case, that are not what their names say: the kind, and what to do.
OTHER_KINDS = {
    b"pk\x03\x04": ("a zip archive or an Excel workbook", "give it its own suffix: .zip or .xlsx"),
    b"\x1f\x8b": ("a gzip file", "give it its own suffix, as in .csv.gz"),
    b"par1": ("a Parquet file", "give it its own suffix: .parquet"),
    b"\xd0\xcf\x11\xe0": ("an Excel workbook of the old kind, .xls", "save it as .xlsx or .csv"),
    b"version https://git-lfs": ("a pointer of Git LFS, not the data", "fetch the data: git lfs pull"),
    b"<!doctype html": ("a web page", "download the file itself, not the page about it"),
    b"<html": ("a web page", "download the file itself, not the page about it"),
}


def encoding_of(sample: bytes) -> str:
    """Guess the encoding of the start of a file, or of a line; "" for none of the usual ones."""
    if sample.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    even, odd = sample[::2].count(0), sample[1::2].count(0)
    if 4 * max(even, odd) > len(sample):  # mostly ASCII characters of two bytes each
        return "utf-16-be" if even > odd else "utf-16-le"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample)  # whose last character may be cut
        return "utf-8"
    except UnicodeDecodeError:
        pass
    try:
        sample.decode("cp1252")
        return "cp1252"
    except UnicodeDecodeError:
        return ""


def refuse_other_kinds(request: Request) -> None:
    """Raise DataError where a file of characters holds something else, by its first bytes."""
    with open_binary(request.path) as file:
        start = file.read(SAMPLE)[:64].lstrip().lower()
    for mark, (kind, fix) in OTHER_KINDS.items():
        if start.startswith(mark):
            raise DataError(f"{request.path}: {kind}", f"what a {request.kind} file holds", fix)


def looks_utf8(request: Request) -> bool:
    """Return whether the start of a file is UTF-8, and not ASCII, though the settings have another encoding."""
    if codecs.lookup(request.data.encoding).name == "utf-8":
        return False
    with open_binary(request.path) as file:
        sample = file.read(SAMPLE)
    return not sample.isascii() and encoding_of(sample) == "utf-8"


def separator_of(lines: Sequence[str], used: str, request: Request) -> str:
    """Guess the separator of fields.

    Args:
        lines: the first of a file.
        used: the separator that does not fit.
        request: says which columns there are, and whether the first line has their names.

    Returns:
        The separator that gives all columns, in all lines alike; "" for none.
    """
    rows = {separator: list(csv.reader(lines, delimiter=separator)) for separator in SEPARATORS if separator != used}
    for separator, (first, *_) in rows.items():
        if request.data.header and set(request.columns) <= set(first):
            return separator
    widths = {separator: {len(row) for row in parsed} for separator, parsed in rows.items()}
    alike = {separator: width.pop() for separator, width in widths.items() if len(width) == 1}
    best = max(alike, key=lambda separator: alike[separator], default="")
    return best if alike.get(best, 1) > 1 else ""


def looks_like(request: Request, used: str = "", line: bytes = b"") -> str:
    """Say what a file looks like, and by which settings to read it; "" where it fits them as far as one can tell.

    Args:
        request: what was to be read.
        used: the separator; "" where fields have none.
        line: one that cannot be decoded.
    """
    with open_binary(request.path) as file:
        sample = file.read(SAMPLE)
    encoding = encoding_of(sample)
    if encoding == "utf-8" and line:
        encoding = encoding_of(line)
    parts, flags = [], []
    text = sample.decode(encoding or "latin-1", errors="ignore").removeprefix("\ufeff")
    lines = [
        line for line in text.splitlines()[:20] if line and not line.startswith("sep=")
    ]  # of which the last may be cut in a file of long lines
    if used and lines and (separator := separator_of(lines[:-1] or lines, used, request)):
        parts.append(SEPARATORS[separator])
        flags.append(f"--data.separator {shlex.quote(separator.replace(chr(9), chr(92) + 't'))}")
    if encoding and codecs.lookup(encoding).name != codecs.lookup(request.data.encoding).name:
        parts.append(encoding)
        flags.append(f"--data.encoding {encoding}")
    return f"looks like {' and '.join(parts)}: {' '.join(flags)}" if parts else ""


def undecodable(request: Request, used: str = "") -> DataError:
    """Explain where a file does not fit its encoding, and what it looks like. Reads it again to find the place."""
    path, encoding = request.path, request.data.encoding
    expected = "UTF-8" if codecs.lookup(encoding).name == "utf-8" else encoding
    with open_binary(path) as file:
        if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) and not expected.lower().startswith("utf-16"):
            got = f"{path}: encoded as UTF-16 (byte-order mark at offset 0)"
            return DataError(got, expected, looks_like(request, used))
    lines_are_bytes = "\n".encode(encoding) == b"\n"
    offset = 0
    with open_binary(path) as file:
        for number, raw in enumerate(file if lines_are_bytes else (), start=1):
            try:
                raw.decode(encoding)
            except UnicodeDecodeError as error:
                return DataError(
                    f"{path}, line {number}: byte 0x{raw[error.start]:02x} at offset {offset + error.start} is not "
                    f"{expected}",
                    expected,
                    looks_like(request, used, raw) or "name its encoding by --data.encoding",
                )
            offset += len(raw)
    fix = looks_like(request, used) or "name its encoding by --data.encoding"
    return DataError(f"{path}: not {expected}", expected, fix)
