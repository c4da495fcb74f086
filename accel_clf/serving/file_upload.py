"""Uploaded files of texts, returned with labels: every column unchanged, followed by the predictions."""

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
from accel_clf.data.texts import Text, TextColumns
from accel_clf.run_folder.predictions import Prediction, table_row
from accel_clf.serving.errors import ApiError
from accel_clf.targets.base import Target

CHUNK_ROWS = 128  # scored together
MEDIA_TYPES = {  # by suffix; the first is used in responses
    ".csv": ("text/csv",),
    ".tsv": ("text/tab-separated-values",),
    ".jsonl": ("application/x-ndjson", "application/jsonl"),
    ".txt": ("text/plain",),
}

ScoreTexts = Callable[[Sequence[Text]], np.ndarray]


def save_upload(folder: Path) -> tuple[Path, str]:
    """Save the file in the current request under its suffix; return its path and the name that the client gave it.

    Raises:
        ApiError: there is no file, or its type is unknown.
    """
    if request.mimetype == "multipart/form-data":
        upload = request.files.get("file")
        if upload is None:
            raise ApiError(422, "the form has no file in part `file`")
        client_name = re.split(r"[\\/]", upload.filename or "")[-1]
        name = "".join(letter for letter in client_name if letter.isprintable())[-100:]
        suffix = f".{name.rpartition('.')[2]}".lower()
        if suffix not in MEDIA_TYPES:
            raise ApiError(422, f"{name or 'a file without a name'}: expected one of {' '.join(MEDIA_TYPES)}")
        path = folder / f"file{suffix}"
        upload.save(path)
        return path, name
    body_suffix = next((suffix for suffix, types in MEDIA_TYPES.items() if request.mimetype in types), None)
    if body_suffix is None:
        expected = ", ".join([*(types[0] for types in MEDIA_TYPES.values()), "multipart/form-data"])
        raise ApiError(415, f"{request.mimetype or 'no Content-Type'}; expected one of {expected}")
    path = folder / f"file{body_suffix}"
    with path.open("wb") as file:
        shutil.copyfileobj(request.stream, file)
    return path, path.name


def validate_file(path: Path, columns: TextColumns) -> int:
    """Read a whole file strictly, before the response starts, and return its number of rows.

    Args:
        path: the file; its suffix is one of MEDIA_TYPES.
        columns: that the texts are in.

    Raises:
        DataError: with file and line, for any malformed row.
    """
    if path.suffix == ".txt":
        return sum(1 for _ in _read_lines(path))
    return sum(1 for _ in read_texts(str(path), columns))


def response_media_type(path: Path) -> str:
    """Return the media type of what `label_file` makes of a file."""
    return MEDIA_TYPES[".csv" if path.suffix == ".txt" else path.suffix][0]


def label_file(path: Path, columns: TextColumns, target: Target, score_texts: ScoreTexts) -> Iterator[bytes]:
    """Yield the lines of a valid file with columns `predicted`, `score` and, per label, `score:LABEL` added.

    Columns that have these names already are replaced. In JSON lines the scores of all labels are under one key,
    `scores`; of several labels a text `predicted` is a list there.

    Args:
        path: the file; its suffix is one of MEDIA_TYPES.
        columns: that the texts are in.
        target: what is predicted.
        score_texts: function that maps texts to scores, float64 [texts, scores].

    Raises:
        DataError: the predictions would replace the texts.
    """
    if path.suffix == ".jsonl":
        added = ["predicted", "score", *target.extra_columns, "scores"]
    else:
        scores = [f"score:{name}" for name in target.score_names]
        added = ["predicted", *(["score"] if target.has_score else []), *target.extra_columns, *scores]
    if replaced := [name for name in columns.names if name in added]:
        raise DataError(
            f"the texts are in column {replaced[0]!r}, which the predictions would replace", "a column of another name"
        )

    def text_of(record: dict[str, Any]) -> Text:
        return columns.text_of([record[name] for name in columns.names], str(path))

    def answer_records(records: Iterator[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], Prediction]]:
        while chunk := list(islice(records, CHUNK_ROWS)):
            yield from zip(chunk, map(target.answer, score_texts(list(map(text_of, chunk)))), strict=True)

    if path.suffix == ".jsonl":
        with path.open(encoding="utf-8-sig") as lines:
            for record, answer in answer_records(json.loads(line) for line in lines if line.strip()):
                predicted = next(answer[key] for key in ("label", "labels", "value") if key in answer)
                row = {**record, "predicted": predicted}
                row |= {key: answer[key] for key in ("score", "set", "scores") if key in answer}
                try:
                    yield json.dumps(row, ensure_ascii=False).encode() + b"\n"
                except UnicodeEncodeError:  # a lone surrogate in another column: escaped, as it was in the upload
                    yield json.dumps(row).encode() + b"\n"
        return
    if path.suffix == ".txt":
        yield _format_row("excel", ["text", *added])
        lines_read = _read_lines(path)
        while chunk := list(islice(lines_read, CHUNK_ROWS)):
            for line, answer in zip(chunk, map(target.answer, score_texts(chunk)), strict=True):
                yield _format_row("excel", [line, *table_row(target, answer)])
        return
    dialect = "excel-tab" if path.suffix == ".tsv" else "excel"
    with path.open(encoding="utf-8-sig", newline="") as file:
        table = csv.DictReader(file, dialect=dialect)
        kept = [name for name in table.fieldnames or () if name not in added]
        yield _format_row(dialect, [*kept, *added])
        for record, answer in answer_records(iter(table)):
            yield _format_row(dialect, [*(record[name] for name in kept), *table_row(target, answer)])


def _read_lines(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise DataError(f"{path}, line {number}: not UTF-8 (byte {error.start})", "UTF-8") from None


def _format_row(dialect: str, values: Sequence[Any]) -> bytes:
    line = io.StringIO()
    csv.writer(line, dialect=dialect, lineterminator="\n").writerow(values)
    return line.getvalue().encode()
