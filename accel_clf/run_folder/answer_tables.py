"""Tables of answers: a row's own columns, then what is predicted: CSV, TSV, JSON Lines or Parquet."""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from accel_clf.core.chunks import chunks
from accel_clf.core.errors import DataError
from accel_clf.core.files import atomic_write, csv_line
from accel_clf.data.rows import ARROW_MISFITS, ArrowRow, Row, TextRows, no_arrow_type
from accel_clf.targets.base import Target

if TYPE_CHECKING:
    import pyarrow

ROW_GROUP = 8192  # rows that Parquet has together

Prediction = dict[str, Any]  # a text's answer, see targets.base.Target.answer
Answered = Iterable[tuple[Row, Prediction]]
ERROR = "error"  # the key, and the column of tables that have it, of why there is no answer


def failed_answer(reason: str) -> Prediction:
    """Return the answer of a text that has none."""
    return {ERROR: reason}


def added_columns(target: Target, suffix: str, with_errors: bool = False) -> list[str]:
    """Return the columns that a table of this kind has of an answer.

    Args:
        target: what is predicted.
        suffix: the table's kind.
        with_errors: whether it has a column, the last one, for why there is no answer.
    """
    scores = [f"score:{name}" for name in target.score_names]
    if suffix == ".jsonl":
        scores = ["scores"] if scores else []
    score, error = (["score"] if target.has_score else []), ([ERROR] if with_errors else [])
    return ["predicted", *score, *target.extra_columns, *scores, *error]


def answer_keys(target: Target, with_errors: bool = False) -> list[str]:
    """Return the keys that an answer has as JSON."""
    return [_predicted_key(target), "score", "scores", *target.extra_columns, *([ERROR] if with_errors else [])]


def json_answer(target: Target, answer: Prediction, with_errors: bool = False) -> Prediction:
    """Return an answer as JSON has it: with the key `error`, where answers have one, also if there is none."""
    if ERROR in answer:
        return {_predicted_key(target): None, **answer}
    return {**answer, ERROR: None} if with_errors else answer


def check_columns(rows: TextRows, names: Iterable[str]) -> None:
    """Check that the columns that are kept have other names than those of the answers.

    Raises:
        DataError: one has not.
    """
    added = set(names)
    taken = [name for name in rows.columns if name in added]
    if not taken:
        return
    free = [name for name in rows.columns if name not in added and name not in rows.texts]
    keep = " ".join(f"--keep {name}" for name in free[:8]) or "--keep none"
    raise DataError(
        f"{rows.origin}: {'column' if len(taken) == 1 else 'columns'} {', '.join(map(repr, taken))}, which the answers "
        "have, too",
        "kept columns of other names",
        "rename it" if set(rows.texts) & set(taken) else f"rename it, or name the columns to keep: {keep}",
    )


def write_answers(path: Path, rows: TextRows, answered: Answered, target: Target, with_errors: bool = False) -> None:
    """Write the columns of rows and their answers; the file appears once it is complete.

    Args:
        path: whose suffix is one of TABLE_SUFFIXES.
        rows: that are answered.
        answered: each row with its answer.
        target: what is predicted.
        with_errors: whether there is a column for why a row has no answer.

    Raises:
        DataError: a value cannot be written to such a file.
    """
    with atomic_write(path) as file:
        if path.suffix == ".parquet":
            _write_parquet(file.buffer, rows, answered, target, with_errors)  # type: ignore[attr-defined]
        else:
            file.writelines(table_lines(path.suffix, rows.columns, answered, target, with_errors))


def table_lines(
    suffix: str, columns: Sequence[str], answered: Answered, target: Target, with_errors: bool = False
) -> Iterator[str]:
    """Yield the lines of a table of answers, with its header, if its kind has one.

    Args:
        suffix: its kind: .csv, .tsv or .jsonl.
        columns: of the rows, to keep.
        answered: each row with its answer.
        target: what is predicted.
        with_errors: whether there is a column for why a row has no answer.

    Raises:
        DataError: CSV cannot have a value.
    """
    if suffix == ".jsonl":
        names = dict.fromkeys(columns)  # in which looking a name up takes no time
        for row, answer in answered:
            rest: Prediction = {key: answer[key] for key in ("score", "set", "scores") if key in answer}
            if with_errors:
                rest[ERROR] = answer.get(ERROR)
            yield json_line({**row.values(names), "predicted": answer.get(_predicted_key(target)), **rest})
        return
    dialect = "excel-tab" if suffix == ".tsv" else "excel"
    names_added = added_columns(target, suffix, with_errors)
    yield csv_line([*columns, *names_added], dialect)
    for row, answer in answered:
        yield csv_line([*row.texts(columns), *_answer_cells(target, answer, names_added)], dialect)


def json_line(record: dict[str, Any]) -> str:
    """Write an object of JSON Lines; what is no Unicode is escaped, as it must have been in the source."""
    line = json.dumps(record, ensure_ascii=False)
    if not line.isascii():
        try:
            line.encode()
        except UnicodeEncodeError:
            line = json.dumps(record)
    return line + "\n"


def _predicted_key(target: Target) -> str:
    """Return where JSON has what is predicted."""
    return "label" if target.has_score else "labels" if target.score_names else "value"


def _answer_cells(target: Target, answer: Prediction, columns: Sequence[str]) -> list[Any]:
    if ERROR in answer:
        return [*[""] * (len(columns) - 1), answer[ERROR]]
    error = [""] if columns[-1] == ERROR else []
    score = [answer["score"]] if target.has_score else []
    scores = answer.get("scores", {}).values()
    return [target.answer_text(answer), *score, *target.extra_values(answer), *scores, *error]


def _write_parquet(
    file: IO[bytes], rows: TextRows, answered: Answered, target: Target, with_errors: bool = False
) -> None:
    import pyarrow
    import pyarrow.parquet

    kept, labels = rows.schema().remove_metadata(), pyarrow.list_(pyarrow.string())
    predicted = {"label": pyarrow.string(), "labels": labels, "value": pyarrow.float64()}[_predicted_key(target)]
    kinds = {"predicted": predicted, **dict.fromkeys(target.extra_columns, labels), ERROR: pyarrow.string()}
    names = added_columns(target, ".parquet", with_errors)
    added = [(name, kinds.get(name, pyarrow.float64())) for name in names]
    schema = pyarrow.schema([*kept, *added])
    try:
        writer = pyarrow.parquet.ParquetWriter(file, schema)
    except pyarrow.ArrowException as error:
        raise DataError(
            f"{rows.origin}: Parquet cannot hold a column's type ({error})", fix="write to a .jsonl"
        ) from None
    with writer:
        for chunk in chunks(answered, ROW_GROUP):
            columns = _kept_arrays([row for row, _ in chunk], kept)
            answers = zip(*(_answer_values(target, answer, names) for _, answer in chunk), strict=True)
            columns += [pyarrow.array(values, kind) for values, (_, kind) in zip(answers, added, strict=True)]
            writer.write_table(pyarrow.Table.from_arrays(columns, schema=schema))


def _answer_values(target: Target, answer: Prediction, columns: Sequence[str]) -> list[Any]:
    if ERROR in answer:
        return [*[None] * (len(columns) - 1), answer[ERROR]]
    error = [None] if columns[-1] == ERROR else []
    score = [answer["score"]] if target.has_score else []
    return [
        answer[_predicted_key(target)],
        *score,
        *map(answer.get, target.extra_columns),
        *answer.get("scores", {}).values(),
        *error,
    ]


def _kept_arrays(rows: Sequence[Row], schema: "pyarrow.Schema") -> list[Any]:
    """Return rows' columns; Arrow's own as they are."""
    import pyarrow

    if isinstance(rows[0].cells, ArrowRow):
        parts = []
        cells = [cast(ArrowRow, row.cells) for row in rows]
        for _, group in groupby(cells, key=lambda cell: id(cell.batch)):  # a batch's rows follow each other
            members = list(group)
            parts.append(members[0].batch.slice(members[0].position, len(members)).select(schema.names))
        return list(pyarrow.Table.from_batches(parts).columns)
    arrays = []
    for name, kind in zip(schema.names, schema.types, strict=True):
        try:
            arrays.append(pyarrow.array([row.value(name) for row in rows], kind))
        except ARROW_MISFITS:
            raise _explain_misfit(rows, name, kind) from None
    return arrays


def _explain_misfit(rows: Sequence[Row], column: str, kind: "pyarrow.DataType") -> DataError:
    """Return the error that names the first of some rows whose value is not of a type."""
    import pyarrow

    for row in rows:
        try:
            pyarrow.array([row.value(column)], kind)
        except ARROW_MISFITS as error:
            return no_arrow_type(row, column, error)
    return no_arrow_type(rows[0], column, "too much of it")
