"""Uploaded files of texts, returned with labels: every column unchanged, followed by the predictions."""

import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from flask import request

from accel_clf.config.schema import DataConfig
from accel_clf.core.chunks import chunks
from accel_clf.core.errors import DataError
from accel_clf.data.rows import Row, TextRows
from accel_clf.data.sources import read_rows
from accel_clf.data.texts import Text
from accel_clf.inference.failures import Failure
from accel_clf.run_folder.answer_tables import Prediction, added_columns, failed_answer, table_lines
from accel_clf.serving.errors import ApiError, FailedTextsError
from accel_clf.targets.base import Target

CHUNK_ROWS = 128  # scored together
MEDIA_TYPES = {  # by suffix; the first is used in responses
    ".csv": ("text/csv",),
    ".tsv": ("text/tab-separated-values",),
    ".jsonl": ("application/x-ndjson", "application/jsonl"),
    ".txt": ("text/plain",),
}

Item = TypeVar("Item")
ScoreTexts = Callable[[Sequence[Text]], Iterable[np.ndarray | Failure]]


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


def read_file(path: Path, data: DataConfig) -> tuple[TextRows, int]:
    """Read a whole file strictly, before the response starts, and return its rows and their number.

    Args:
        path: the file; its suffix is one of MEDIA_TYPES.
        data: the columns that the texts are in, and how files are read.

    Raises:
        DataError: with file and line, for any malformed row.
    """
    if path.suffix == ".txt":  # a line has no columns
        data = DataConfig(encoding=data.encoding)
    rows = read_rows(str(path), data, None)
    return rows, sum(1 for _ in rows.stream())


def response_suffix(path: Path) -> str:
    """Return the kind of file that `label_file` makes of one."""
    return ".csv" if path.suffix == ".txt" else path.suffix


def replaced_columns(rows: TextRows, target: Target, suffix: str, with_errors: bool) -> list[str]:
    """Return the columns that the predictions replace: those of the same names.

    Args:
        rows: of the file.
        target: what is predicted.
        suffix: by `response_suffix`.
        with_errors: whether there is a column for why a row has no answer.

    Raises:
        DataError: the texts are in one of them.
    """
    added = added_columns(target, suffix, with_errors)
    if taken := [name for name in rows.texts if name in added]:
        raise DataError(
            f"the texts are in column {taken[0]!r}, which the predictions would replace", "a column of another name"
        )
    return [name for name in rows.columns if name in added]


def score_each(
    score: Callable[[Sequence[Item]], Iterable[np.ndarray | Failure]], texts: Sequence[Item], with_errors: bool
) -> Iterable[np.ndarray | Failure]:
    """Return the scores of each text, float64 [scores], or why it has none.

    Args:
        score: function that maps texts to what this returns, but raises FailedTextsError where it fails on some.
        texts: to score.
        with_errors: whether the others are scored, without them, where the model fails on some.

    Raises:
        FailedTextsError: the model fails on some, and the others are not scored.
    """
    try:
        return score(texts)
    except FailedTextsError as error:
        if not with_errors:
            raise
        failures = error.failures
    scores = iter(score([text for index, text in enumerate(texts) if index not in failures]))
    return [failures[index] if index in failures else next(scores) for index in range(len(texts))]


def label_rows(
    rows: TextRows, replaced: Sequence[str], target: Target, suffix: str, score_texts: ScoreTexts, with_errors: bool
) -> Iterator[bytes]:
    """Yield the lines of a valid file with columns `predicted`, `score` and, per label, `score:LABEL` added.

    In JSON lines the scores of all labels are under one key, `scores`; of several labels a text `predicted` is a list
    there.

    Args:
        rows: of the file.
        replaced: by `replaced_columns`.
        target: what is predicted.
        suffix: by `response_suffix`.
        score_texts: function that maps texts to scores, float64 [scores] each, or to why there are none.
        with_errors: whether there is a column for why a row has no answer.

    Raises:
        FailedTextsError: raised by `score_texts`; it names the row.
    """

    def answered() -> Iterator[tuple[Row, Prediction]]:
        for chunk in chunks(rows.stream(), CHUNK_ROWS):
            try:
                outcomes = score_each(score_texts, [row.text for row in chunk], with_errors)
            except FailedTextsError as error:
                raise FailedTextsError(error.failures, chunk[error.first].location) from None
            for row, scores in zip(chunk, outcomes, strict=True):
                yield row, failed_answer(scores.reason) if isinstance(scores, Failure) else target.answer(scores)

    kept = [name for name in rows.columns if name not in replaced]
    return (line.encode() for line in table_lines(suffix, kept, answered(), target, with_errors))
