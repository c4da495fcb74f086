"""A file of texts, uploaded, and the same file with its labels: every column as it was, and the answers beside it."""

import csv
import io
import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from flask import request

from accel_clf.core.errors import DataError
from accel_clf.data.sources import read_texts
from accel_clf.run_folder.predictions import prediction
from accel_clf.serving.errors import ApiError

KINDS = {
    ".csv": ("text/csv",),
    ".tsv": ("text/tab-separated-values",),
    ".jsonl": ("application/x-ndjson", "application/jsonl"),
    ".txt": ("text/plain",),
}


ROWS_AT_ONCE = 128


Score = Callable[[Sequence[str]], np.ndarray]


def check(path: Path, column: str) -> int:
    """Read a whole file, strictly, before anything is answered; its rows.

    Raises:
        DataError: with file and line, for anything that is not as it should be.
    """
    if path.suffix == ".txt":
        return sum(1 for _ in _lines(path))
    return sum(1 for _ in read_texts(str(path), column))


def answered_as(path: Path) -> str:
    """The type of what `labelled` makes of a file."""
    return KINDS[".csv" if path.suffix == ".txt" else path.suffix][0]


def labelled(path: Path, column: str, names: Sequence[str], score: Score) -> Iterator[bytes]:
    """A checked file with the columns `predicted`, `score` and `score:NAME` a class; they replace what has these names.

    JSON lines have all classes' under one key, `scores`.

    Args:
        path: the file; its suffix is one of KINDS.
        column: with the texts.
        names: of the classes.
        score: texts to scores, float64 [texts, classes].
    """
    new = ["predicted", "score", *(["scores"] if path.suffix == ".jsonl" else (f"score:{name}" for name in names))]
    if column in new:
        raise DataError(f"the texts are in column {column!r}, which the answers replace", "a column of another name")
    if path.suffix == ".jsonl":
        with path.open(encoding="utf-8-sig") as lines:
            records = (json.loads(line) for line in lines if line.strip())
            for record, found in _answered(records, column, names, score):
                row = {**record, "predicted": found["label"], "score": found["score"], "scores": found["scores"]}
                try:
                    yield json.dumps(row, ensure_ascii=False).encode() + b"\n"
                except UnicodeEncodeError:  # half a character, in some other column: written as it came
                    yield json.dumps(row).encode() + b"\n"
        return
    if path.suffix == ".txt":
        yield _line("excel", ["text", *new])
        for record, found in _answered(({"text": line} for line in _lines(path)), "text", names, score):
            yield _line("excel", [record["text"], found["label"], found["score"], *found["scores"].values()])
        return
    dialect = "excel-tab" if path.suffix == ".tsv" else "excel"
    with path.open(encoding="utf-8-sig", newline="") as file:
        table = csv.DictReader(file, dialect=dialect)
        own = [name for name in table.fieldnames or () if name not in new]
        yield _line(dialect, [*own, *new])
        for record, found in _answered(table, column, names, score):
            values = [record[name] for name in own]
            yield _line(dialect, [*values, found["label"], found["score"], *found["scores"].values()])


def _lines(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise DataError(f"{path}, line {number}: not UTF-8 (byte {error.start})", "UTF-8") from None


def _answered(
    records: Iterator[dict[str, Any]], column: str, names: Sequence[str], score: Score
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    records = iter(records)
    while some := list(islice(records, ROWS_AT_ONCE)):
        scores = score([record[column] for record in some])
        yield from zip(some, (prediction(names, row) for row in scores), strict=True)


def _line(dialect: str, values: Sequence[Any]) -> bytes:
    line = io.StringIO()
    csv.writer(line, dialect=dialect, lineterminator="\n").writerow(values)
    return line.getvalue().encode()


def receive(folder: Path) -> tuple[Path, str]:
    """The file that a request has brought, put into a folder under its suffix, and the name that its sender gave it."""
    if request.mimetype == "multipart/form-data":
        upload = request.files.get("file")
        if upload is None:
            raise ApiError(422, "no part `file` with a file")
        given = re.split(r"[\\/]", upload.filename or "")[-1]
        name = "".join(letter for letter in given if letter.isprintable())[-100:]
        suffix = f".{name.rpartition('.')[2]}".lower()
        if suffix not in KINDS:
            raise ApiError(422, f"{name or 'a file without a name'}: expected one of {' '.join(KINDS)}")
        path = folder / f"file{suffix}"
        upload.save(path)
        return path, name
    kind = next((kind for kind, types in KINDS.items() if request.mimetype in types), None)
    if kind is None:
        wanted = ", ".join([*(types[0] for types in KINDS.values()), "multipart/form-data"])
        raise ApiError(415, f"{request.mimetype or 'no type'}; expected one of {wanted}")
    path = folder / f"file{kind}"
    with path.open("wb") as file:
        shutil.copyfileobj(request.stream, file)
    return path, path.name
