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

from accel_clf.config.schema import DataConfig
from accel_clf.core.errors import DataError
from accel_clf.data.readers import delimited
from accel_clf.data.readers.records import Request, value_at
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
    return sum(1 for _ in read_texts(str(path), _settings(path, columns)))


def _settings(path: Path, columns: TextColumns) -> DataConfig:
    """Return the settings to read a file by; a line of text has no columns."""
    return DataConfig().model_copy(
        update={} if path.suffix == ".txt" else {"text": columns.joined, "pair": columns.pair}
    )


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

    def answered(records: Iterator[tuple[Any, Text]]) -> Iterator[tuple[Any, Prediction]]:
        while chunk := list(islice(records, CHUNK_ROWS)):
            answers = map(target.answer, score_texts([text for _, text in chunk]))
            yield from zip((record for record, _ in chunk), answers, strict=True)

    if path.suffix == ".jsonl":
        with path.open(encoding="utf-8-sig") as lines:
            records = (json.loads(line) for line in lines if line.strip())
            texts_beside = (
                (record, columns.text_of([value_at(record, name) for name in columns.names], str(path)))
                for record in records
            )
            for record, answer in answered(texts_beside):
                predicted = next(answer[key] for key in ("label", "labels", "value") if key in answer)
                row = {**record, "predicted": predicted}
                row |= {key: answer[key] for key in ("score", "set", "scores") if key in answer}
                try:
                    yield json.dumps(row, ensure_ascii=False).encode() + b"\n"
                except UnicodeEncodeError:  # a lone surrogate in another column: escaped, as it was in the upload
                    yield json.dumps(row).encode() + b"\n"
        return
    data = _settings(path, columns)
    if path.suffix == ".txt":
        yield _format_row("excel", ["text", *added])
        for text, answer in answered((text, text) for text in read_texts(str(path), data)):
            yield _format_row("excel", [text, *table_row(target, answer)])
        return
    dialect = "excel-tab" if path.suffix == ".tsv" else "excel"
    rows = delimited.rows(Request(path, path.suffix, columns.names, data))
    names = next(rows)
    kept = [index for index, name in enumerate(names) if name not in added]
    indices = [names.index(name) for name in columns.names]
    yield _format_row(dialect, [*(names[index] for index in kept), *added])
    for row, answer in answered((row, columns.text_of([row[index] for index in indices], str(path))) for row in rows):
        yield _format_row(dialect, [*(row[index] for index in kept), *table_row(target, answer)])


def _format_row(dialect: str, values: Sequence[Any]) -> bytes:
    line = io.StringIO()
    csv.writer(line, dialect=dialect, lineterminator="\n").writerow(values)
    return line.getvalue().encode()
