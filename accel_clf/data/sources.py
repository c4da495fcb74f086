"""Read labelled rows from the demo, a file or a Hub data set."""

from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from accel_clf.config.schema import DataConfig, TargetConfig
from accel_clf.core import hub_errors
from accel_clf.core.console import log
from accel_clf.core.errors import DataError
from accel_clf.data import demo_corpus
from accel_clf.data.dataset import DIGEST_BYTES, Categorical, Dataset, digest
from accel_clf.data.incomplete import IncompleteRows, is_blank
from accel_clf.data.readers import files
from accel_clf.data.readers.records import Record, Request, require_columns
from accel_clf.data.texts import Text, TextColumns, sides
from accel_clf.data.twins import group_twins
from accel_clf.targets import label_cells, registry
from accel_clf.targets.base import Cell, Target
from accel_clf.targets.multi_label import MultiLabel
from accel_clf.targets.regression import Regression
from accel_clf.targets.single_label import SingleLabel

DEFAULT = TargetConfig()
MAX_WHOLE_FLOAT = 2**53  # beyond it, floats skip integers


def read_dataset(
    source: str,
    data: DataConfig,
    settings: TargetConfig = DEFAULT,
    *,
    split: str,
    target: Target | None = None,
    fold: str | None = None,
) -> Dataset:
    """Read the labelled rows of a source.

    Args:
        source: "demo", a file, a folder of class folders, or the id or folder of a Hub data set.
        data: the names of the columns, and how files are to be read.
        settings: the kind of target, where it is not known yet.
        split: of a Hub data set.
        target: what is predicted; None takes what the labels suggest.
        fold: the column with folds, of which `read_names` has checked that no row has none; None reads none.

    Raises:
        DataError: something cannot be read or used; names the file and line.
    """
    optional_columns = [column for column in (data.group, data.slice, fold) if column]
    text_columns, label_columns = TextColumns.of(data), data.label_columns
    table = _open_table(source, data, split, [*text_columns.names, *label_columns, *optional_columns])
    texts, labels_end = len(text_columns.names), len(text_columns.names) + len(label_columns)
    digests = bytearray()
    cells: dict[Cell, int] = {}  # each of the label columns', once
    lines: list[int | str] = []  # where each first occurs
    cell_of_row: list[int] = []
    ids = array("q")
    blanks: set[bytes] = set()
    incomplete = IncompleteRows(table.origin, table.unit, data)
    optional: list[tuple[dict[str, int], list[int]]] = [({}, []) for _ in optional_columns]
    kind: type[Target] | None = type(target) if target else None
    for index, (line, values) in enumerate(table.records()):
        labels, others = values[texts:labels_end], values[labels_end:]
        if incomplete.leaves_out(line, text_columns.by_side(values[:texts]), labels):
            continue
        location = table.location(line)
        ids.append(index)
        text = text_columns.text_of(values[:texts], location)
        text_digest = digest(text)
        digests += text_digest
        if any(map(is_blank, sides(text))):
            blanks.add(text_digest)
        if kind is None:
            kind = registry.kind_of_data(data, settings, labels[0])
            if table.label_order and kind is not Regression and len(label_columns) == 1 and not settings.order:
                target = kind(table.label_order)
        cell = _cell_of(kind, labels, data, table, location)
        if cell not in cells:
            if target:
                target.encode(cell, location)  # which names the first location of a label that it does not know
            lines.append(line)
        cell_of_row.append(cells.setdefault(cell, len(cells)))
        for (codes_by_name, codes), value in zip(optional, others, strict=True):
            codes.append(codes_by_name.setdefault("" if value is None else str(value), len(codes_by_name)))
    incomplete.check()
    if kind is None or not cells:
        raise DataError(f"{table.origin}: no rows below the header", "at least one row", " ".join(table.notes()))
    columns = [Categorical(tuple(codes_by_name), np.array(codes, np.int32)) for codes_by_name, codes in optional]
    locations = {cell: table.location(line) for cell, line in zip(cells, lines, strict=True)}
    target = target or kind.of_cells(locations, data, settings)
    encoded = np.array([target.encode(cell, location) for cell, location in locations.items()], target.label_type)
    rows = Dataset(
        origin=table.origin,
        stream=lambda: _stream(table, text_columns),
        ids=np.array(ids),
        digests=np.frombuffer(bytes(digests), np.uint8).reshape(-1, DIGEST_BYTES),
        target=target,
        labels=encoded[cell_of_row],
        groups=columns.pop(0) if data.group else None,
        slices=columns.pop(0) if data.slice else None,
        notes=table.notes(),
        blanks=frozenset(blanks),
        left_out=incomplete.note,
        folds=columns.pop(0) if fold else None,
        has_pairs=data.pair is not None,
        is_symmetric=data.symmetric,
    )
    return group_twins(rows) if data.symmetric else rows


def _stream(table: "_Table", columns: TextColumns) -> Iterator[Text]:
    """Read the texts of all rows again; an empty one for a row without any, which is left out or has changed."""
    for line, values in table.records():
        text: Text = ""
        with suppress(DataError):
            text = columns.text_of(values[: len(columns.names)], table.location(line))
        yield text


def _cell_of(kind: type[Target], values: Sequence[Any], data: DataConfig, table: "_Table", location: str) -> Cell:
    """Return what a row's label columns hold, as text."""
    if kind is not MultiLabel:
        value = label_cells.only_item_of(values[0], location) if isinstance(values[0], list) else values[0]
        return table.label(value, location, kind is not SingleLabel)
    if len(values) > 1:
        return label_cells.cells_of_columns(values, data.label_columns, location)
    items = label_cells.items_of(values[0], data.label_separator, location)
    return tuple(dict.fromkeys(table.label(item, location, False) for item in items))


def read_texts(source: str, data: DataConfig, *, split: str = "test") -> Iterator[Text]:
    """Stream the texts of a source, which needs no labels.

    Args:
        source: see `read_dataset`.
        data: the names of the texts' columns, and how files are to be read.
        split: of a Hub data set.
    """
    columns = TextColumns.of(data)
    table = _open_table(source, data, split, columns.names)
    for line, values in table.records():
        yield columns.text_of(values, table.location(line))
    for note in table.notes():
        log(note)


def read_names(source: str, data: DataConfig, column: str, *, split: str = "train") -> set[str]:
    """Read the different values of a column that says something of each row.

    Raises:
        DataError: a row has none; names the file and line.
    """
    table = _open_table(source, data, split, [column])
    names = set()
    for line, (value,) in table.records():
        if value is None or value != value or not str(value).strip():
            raise DataError(f"{table.location(line)}: column {column!r} is empty", "a value in each row")
        names.add(str(value))
    return names


def first_rows(
    source: str, data: DataConfig, columns: Sequence[str], rows: int, *, split: str = "train"
) -> list[tuple[Any, ...]]:
    """Read the first rows of a source, or fewer where one of them cannot be read."""
    table, records = _open_table(source, data, split, columns), []
    with suppress(DataError):
        for _, values in islice(table.records(), rows):
            records.append(values)
    return records


def is_file(source: str) -> bool:
    """Return whether a source is a file, existing or not, or a folder of class folders, rather than a Hub data set."""
    return files.is_local(source)


@dataclass(frozen=True)
class _Table:
    """The records of a source.

    Attributes:
        origin: the name of the source, for messages.
        unit: what records are counted in: "line", "row" or "file".
        records: iterates over the records; may be called repeatedly.
        label: turns a label's value into text; its other arguments are the location, for messages, and whether it
            may be any number.
        label_order: the labels in the source's own order, if it has one.
        remarks: what a user should know about the records that were read last, with counts.
    """

    origin: str
    unit: str
    records: Callable[[], Iterator[Record]]
    label: Callable[[Any, str, bool], str]
    label_order: tuple[str, ...] | None = None
    remarks: Counter[str] = field(default_factory=Counter)

    def location(self, line: int | str) -> str:
        """Name a record's place, for messages."""
        return f"{self.origin}, {self.unit} {line}"

    def notes(self) -> tuple[str, ...]:
        """Say what a user should know, after all records have been read."""
        remarks = ", ".join(f"{count} {remark}" for remark, count in self.remarks.items())
        return (f"{self.origin}: {remarks}",) if remarks else ()


def _open_table(source: str, data: DataConfig, split: str, columns: Sequence[str]) -> _Table:
    path = Path(source)
    if source == "demo":
        require_columns("the demo", ("text", "label"), columns)
        indices = [("text", "label").index(column) for column in columns]
        rows = demo_corpus.rows(split)

        def records() -> Iterator[Record]:
            for number, row in enumerate(rows, start=1):
                yield number, tuple(row[index] for index in indices)

        return _Table("the demo", "row", records, _label_text, demo_corpus.LABELS)
    if is_file(source):
        request = files.located(Request(path, "", columns, data))
        unit = files.unit(request)
        return _Table(str(path), unit, lambda: files.read(request), _label_text, remarks=request.remarks)
    for name in (f"{split}{suffix}{compressed}" for suffix in files.SUFFIXES for compressed in ("", ".gz", ".zip")):
        if (path / name).is_file():  # datasets would read a CSV by pandas, which takes "01" for a number
            return _open_table(str(path / name), data, split, columns)
    if is_file(str(path / split)):
        return _open_table(str(path / split), data, split, columns)
    return _open_hub_table(source, data, split, columns)


def _open_hub_table(source: str, data: DataConfig, split: str, columns: Sequence[str]) -> _Table:
    import datasets

    datasets.disable_progress_bars()
    try:
        loaded = datasets.load_dataset(source, data.config, split=split)
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

    return _Table(origin, "row", records, label, tuple(names) if names else None)


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
