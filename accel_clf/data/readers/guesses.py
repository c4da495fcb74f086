"""What a file looks like that does not fit the settings: for messages, nothing is read by a guess."""

import codecs
import csv
import shlex
from collections.abc import Sequence

from accel_clf.config.schema import DataConfig
from accel_clf.core.errors import DataError
from accel_clf.data.readers.containers import open_binary
from accel_clf.data.readers.records import Request

SAMPLE = 1 << 16  # bytes at the start of a file that a guess goes by
SEPARATORS = {",": ",", ";": ";", "\t": "tab", "|": "|"}


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


def separator_of(line: str, used: str, columns: Sequence[str], data: DataConfig) -> str:
    """Guess the separator of a header, or of a row where there is none.

    Args:
        line: the first of the file.
        used: the separator that does not fit.
        columns: that were requested.
        data: says whether there is a header.

    Returns:
        The separator that gives all columns, or the most fields where `used` gives one; "" for none.
    """
    fields = {separator: _fields(line, separator) for separator in SEPARATORS}
    for separator, names in fields.items():
        numbers = [str(number) for number in range(1, len(names) + 1)]
        if separator != used and set(columns) <= set(names if data.header else numbers):
            return separator
    most = max(fields, key=lambda separator: len(fields[separator]))
    return most if len(_fields(line, used)) == 1 < len(fields[most]) else ""


def _fields(line: str, separator: str) -> list[str]:
    return next(csv.reader([line], delimiter=separator), [])


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
    first = sample.decode(encoding or "latin-1", errors="ignore").removeprefix("\ufeff").splitlines()[:1]
    if used and first and (separator := separator_of(first[0], used, request.columns, request.data)):
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
