"""The bytes and characters of a file: as it is, gzipped, or the only file of a zip archive."""

import codecs
import gzip
import io
import re
import shutil
import tempfile
import zipfile
from contextlib import ExitStack
from pathlib import Path, PurePath
from typing import IO, cast

from accel_clf.core.errors import DataError


def last_suffix(path: PurePath) -> str:
    """Return the last suffix of a name, in lower case."""
    return path.suffix.lower()


def is_compressed(path: Path) -> bool:
    """Return whether a file is one by its name."""
    return last_suffix(path) in (".gz", ".zip")


def open_binary(path: Path) -> IO[bytes]:
    """Open what is to be read.

    Raises:
        DataError: a zip archive has not one file, or is encrypted.
    """
    if last_suffix(path) == ".gz":
        return cast(IO[bytes], gzip.open(path, "rb"))
    if last_suffix(path) == ".zip":
        with zipfile.ZipFile(path) as archive:
            return archive.open(_only_member(archive, path))  # which keeps the archive open
    return path.open("rb")


def open_text(path: Path, encoding: str, newline: str = "") -> io.TextIOWrapper:
    """Open a file's characters; a byte-order mark is dropped, line ends stay as they are."""
    if codecs.lookup(encoding).name == "utf-8":
        encoding = "utf-8-sig"
    return io.TextIOWrapper(open_binary(path), encoding=encoding, newline=newline)


def open_seekable(path: Path) -> IO[bytes]:
    """Open a file for reading in any order, for which a compressed one is unpacked to a temporary file."""
    if not is_compressed(path):
        return path.open("rb")
    with ExitStack() as stack:
        unpacked = stack.enter_context(tempfile.TemporaryFile())
        with open_binary(path) as source:
            shutil.copyfileobj(source, unpacked, 1 << 20)
        unpacked.seek(0)
        stack.pop_all()  # the caller closes it
        return unpacked


def member_name(path: Path) -> PurePath:
    """Return the name of the only file in a zip archive.

    Raises:
        DataError: there is not one.
    """
    with zipfile.ZipFile(path) as archive:
        return PurePath(_only_member(archive, path).filename)


def _only_member(archive: zipfile.ZipFile, path: Path) -> zipfile.ZipInfo:
    members = [
        member
        for member in archive.infolist()
        if not member.is_dir() and not re.search(r"(^|/)(\.|__MACOSX/)", member.filename)  # which systems add
    ]
    if len(members) != 1:
        names = ", ".join(member.filename for member in members[:5]) + (", ..." if len(members) > 5 else "")
        raise DataError(
            f"{path}: an archive of {len(members)} files{': ' if names else ''}{names}",
            "one file",
            "unpack it, and name the file or folder that is meant",
        )
    if members[0].flag_bits & 1:
        raise DataError(f"{path}: encrypted", "an archive without a password", "unpack it")
    return members[0]
