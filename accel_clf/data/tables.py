"""The records of a source: the demo, a file or a Hub data set."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accel_clf.config.schema import DataConfig
from accel_clf.core import hub_errors
from accel_clf.core.errors import DataError
from accel_clf.data import demo_corpus
from accel_clf.data.readers import files
from accel_clf.data.readers.records import Record, Request, require_columns
from accel_clf.data.rows import CHUNK_ROWS, ArrowRow, text_schema

if TYPE_CHECKING:
    import pyarrow

MAX_WHOLE_FLOAT = 2**53  # beyond it, floats skip integers


@dataclass(frozen=True)
class Table:
    """The records of a source.

    Attributes:
        origin: the name of the source, for messages.
        unit: what records are counted in: "line", "row" or "file".
        records: iterates over the records; may be called repeatedly.
        label: turns a label's value into text; its other arguments are the location, for messages, and whether it
            may be any number.
        names: reads the names of all columns.
        rows: like `records`, with the whole row after the requested values: column -> value, or an ArrowRow; its
            argument is which columns are needed of it.
        schema: reads their Arrow schema; None where each value has a type of its own.
        label_order: the labels in the source's own order, if it has one.
        remarks: what a user should know about the records that were read last, with counts.
    """

    origin: str
    unit: str
    records: Callable[[], Iterator[Record]]
    label: Callable[[Any, str, bool], str]
    names: Callable[[], tuple[str, ...]]
    rows: Callable[[tuple[str, ...]], Iterator[Record]]
    schema: Callable[[], "pyarrow.Schema | None"]
    label_order: tuple[str, ...] | None = None
    remarks: Counter[str] = field(default_factory=Counter)

    def location(self, line: int | str) -> str:
        """Name a record's place, for messages."""
        return f"{self.origin}, {self.unit} {line}"

    def notes(self) -> tuple[str, ...]:
        """Say what a user should know, after all records have been read."""
        remarks = ", ".join(f"{count} {remark}" for remark, count in self.remarks.items())
        return (f"{self.origin}: {remarks}",) if remarks else ()


def open_table(source: str, data: DataConfig, split: str, columns: Sequence[str]) -> Table:
    """Open a source.

    Args:
        source: "demo", a file, a folder of class folders, or the id or folder of a Hub data set.
        data: says how files are to be read.
        split: of a Hub data set.
        columns: that are requested.

    Raises:
        DataError: there is no such source; while records are read, one of them is not as it should be.
    """
    path = Path(source)
    if source == "demo":
        return _open_demo(split, columns)
    if files.is_local(source):
        request = files.located(Request(path, "", columns, data))
        return Table(
            str(path),
            files.unit(request),
            lambda: files.read(request),
            _label_text,
            lambda: files.names(request),
            lambda kept: files.read(replace(request, kept=kept)),
            lambda: files.schema(request),
            remarks=request.remarks,
        )
    for name in (f"{split}{suffix}{compressed}" for suffix in files.SUFFIXES for compressed in ("", ".gz", ".zip")):
        if (path / name).is_file():  # datasets would read a CSV by pandas, which takes "01" for a number
            return open_table(str(path / name), data, split, columns)
    if files.is_local(str(path / split)):
        return open_table(str(path / split), data, split, columns)
    return _open_hub_table(source, data, split, columns)


def _open_demo(split: str, columns: Sequence[str]) -> Table:
    names = ("text", "label")
    require_columns("the demo", names, columns)
    indices = [names.index(column) for column in columns]
    corpus = demo_corpus.rows(split)

    def records() -> Iterator[Record]:
        for number, row in enumerate(corpus, start=1):
            yield number, tuple(row[index] for index in indices)

    def rows(_: Sequence[str]) -> Iterator[Record]:
        for (number, values), row in zip(records(), corpus, strict=True):
            yield number, (*values, dict(zip(names, row, strict=True)))

    return Table(
        "the demo", "row", records, _label_text, lambda: names, rows, lambda: text_schema(names), demo_corpus.LABELS
    )


def _open_hub_table(source: str, data: DataConfig, split: str, columns: Sequence[str]) -> Table:
    import datasets

    datasets.disable_progress_bars()
    try:
        loaded = datasets.load_dataset(source, data.config, split=split, revision=data.revision)
    except ValueError as error:
        # A wrong name of the configuration or the split is a ValueError that lists the right ones.
        raise DataError(
            f"data set {source}: {str(error).splitlines()[0]}", fix="set --data.config, --data.split or --data.test"
        ) from None
    except Exception as error:
        if Path(source).exists() or source.startswith(("/", ".", "~")):
            raise DataError(
                f"{source}: {str(error).splitlines()[0]}",
                f"a file ({files.KINDS_OF_FILES}) or a data set's folder",
            ) from None
        raise hub_errors.explain(error, "data set", source, DataError) from None
    origin = f"data set {source} ({split})"
    require_columns(origin, loaded.column_names, columns)
    selected = loaded.select_columns(list(columns))
    label_at = columns.index(data.label_columns[0]) if data.label_columns[0] in columns else -1
    of_labels = loaded.features[columns[label_at]] if label_at >= 0 else None
    of_labels = getattr(of_labels, "feature", of_labels)  # a list's is inside
    names = of_labels.names if isinstance(of_labels, datasets.ClassLabel) else None

    def label(value: Any, location: str, is_number: bool) -> str:
        if names is None:
            return _label_text(value, location, is_number)
        if value is None or value < 0:
            raise DataError(f"{location}: no label", "a split whose rows have labels")
        return str(names[value])

    def records() -> Iterator[Record]:
        for number, record in enumerate(selected, start=1):
            values = [record[column] for column in columns]
            # -1 is how the Hub marks the hidden labels of a competition's test split.
            if names is not None and isinstance(code := values[label_at], int) and code < 0:
                values[label_at] = None
            yield number, tuple(values)

    def rows(_: Sequence[str]) -> Iterator[Record]:
        tables = loaded.with_format("arrow").iter(batch_size=CHUNK_ROWS)
        all_rows = (
            ArrowRow(batch, index) for table in tables for batch in table.to_batches() for index in range(len(batch))
        )
        for number, row in enumerate(all_rows, start=1):
            yield number, (*(row.batch.column(column)[row.position].as_py() for column in columns), row)

    return Table(
        origin,
        "row",
        records,
        label,
        lambda: tuple(loaded.column_names),
        rows,
        lambda: loaded.features.arrow_schema,
        tuple(names) if names else None,
    )


def _label_text(value: Any, location: str, is_number: bool) -> str:
    """Return a label as written; whole floats as names are integers, which a column with gaps makes floats of.

    Others are refused as names: their text may differ from that in the user's file.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) or (isinstance(value, float) and is_number):
        return str(value)
    if isinstance(value, float):
        if value.is_integer() and abs(value) <= MAX_WHOLE_FLOAT:
            return str(int(value))
        raise DataError(
            f"{location}: the label is {value!r}, a float",
            "a string or a whole number",
            "for a number that is to be predicted, --target.type regression (or ordinal)",
        )
    if not isinstance(value, str):
        got = "null" if value is None else f"{value!r}, a {type(value).__name__}"
        raise DataError(f"{location}: the label is {got}", "a string or an integer")
    if not value:
        raise DataError(f"{location}: the label is empty", "a string or an integer", "fill it in or drop the row")
    return value
