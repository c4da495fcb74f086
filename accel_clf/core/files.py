"""Files and folders that appear under their names once they are complete, or not at all; lines of CSV."""

import csv
import errno
import io
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from safetensors import SafetensorError


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[str]]:
    """Open a text file for writing that appears under its name only once it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        with unfinished.open("w", encoding="utf-8", newline="") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_json(path: Path, value: Any, indent: int | None = 2) -> None:
    """Write a value as a JSON file, atomically."""
    with atomic_write(path) as file:
        json.dump(value, file, indent=indent, ensure_ascii=False)
        file.write("\n")


def sync_file(path: Path) -> None:
    """Wait until a file's content is on the disk."""
    with path.open("r+b") as file:  # Windows syncs what is open for writing only
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Wait until the names in a folder are on the disk; nothing on Windows, which cannot open folders."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises:
        ValueError: it holds something else, or is not JSON.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"{type(content).__name__}, not an object")
    return content


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Raise an OSError where safetensors, in an error class of its own, reports one.

    Raises:
        OSError: reading or writing `path` has failed.
    """
    try:
        yield
    except SafetensorError as error:
        match = re.search(r"os error (\d+)", str(error))
        code = int(match[1]) if match else errno.EIO
        raise OSError(code, os.strerror(code), str(path)) from error


@contextmanager
def atomic_dir(folder: Path) -> Iterator[Path]:
    """Create a folder of the cache that appears under its name only once it is complete. Needs `cache_lock`.

    Yields:
        A temporary folder for its content.
    """
    unfinished = Path(tempfile.mkdtemp(prefix="unfinished-", dir=folder.parent))
    try:
        yield unfinished
        shutil.rmtree(folder, ignore_errors=True)  # whatever has that name is damaged
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def csv_line(values: Iterable[Any], dialect: str = "excel") -> str:
    """Format values as a line of CSV that ends in a line feed; fields with a carriage return are quoted, too."""
    line = io.StringIO()
    csv.writer(line, dialect=dialect).writerow(values)  # it quotes the letters of its line ends, which are both
    return line.getvalue().removesuffix("\r\n") + "\n"
