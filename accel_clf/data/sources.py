"""Read labelled rows from the demo, a file or a Hub data set."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from accel_clf.config.schema import DataConfig, TargetConfig
from accel_clf.core.errors import DataError, closest
from accel_clf.data.dataset import DIGEST_BYTES, Categorical, Dataset, digest
from accel_clf.data.incomplete import IncompleteRows, is_blank
from accel_clf.data.readers import files
from accel_clf.data.rows import Row, TextRows, infer_schema
from accel_clf.data.tables import Table, open_table
from accel_clf.data.texts import Text, TextColumns, sides
from accel_clf.data.twins import group_twins
from accel_clf.targets import label_cells, registry
from accel_clf.targets.base import Cell, Target
from accel_clf.targets.multi_label import MultiLabel
from accel_clf.targets.regression import Regression
from accel_clf.targets.single_label import SingleLabel

if TYPE_CHECKING:
    import pyarrow

DEFAULT = TargetConfig()


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
    table = open_table(source, data, split, [*text_columns.names, *label_columns, *optional_columns])
    texts, labels_end = len(text_columns.names), len(text_columns.names) + len(label_columns)
    digests = bytearray()
    cells: dict[Cell, int] = {}  # each of the label columns', once
    known: dict[str, int] = {}  # the same by what the only label column has, which costs less time
    lines: list[int | str] = []  # where each first occurs
    cell_of_row: list[int] = []
    left_out: list[int] = []
    index = -1
    blanks: set[bytes] = set()
    incomplete = IncompleteRows(table.origin, table.unit, data)
    optional: list[tuple[dict[str, int], list[int]]] = [({}, []) for _ in optional_columns]
    kind: type[Target] | None = type(target) if target else None
    for index, (line, values) in enumerate(table.records()):
        labels, others = values[texts:labels_end], values[labels_end:]
        location = table.location(line)
        for value in values[:labels_end]:
            if type(value) is not str or not value or value.isspace():
                is_filled = False
                break
        else:
            is_filled = True  # as nearly all rows are; to look closer would take a third of the time of reading
        if not is_filled and incomplete.leaves_out(line, text_columns.by_side(values[:texts]), labels):
            left_out.append(index)
            continue
        text = text_columns.text_of(values[:texts], location)
        text_digest = digest(text)
        digests += text_digest
        if not is_filled and any(map(is_blank, sides(text))):
            blanks.add(text_digest)
        if kind is None:
            kind = registry.kind_of_data(data, settings, labels[0])
            if table.label_order and kind is not Regression and len(label_columns) == 1 and not settings.order:
                target = kind(table.label_order)
        code = known.get(labels[0]) if is_filled else None
        if code is None:
            cell = _cell_of(kind, labels, data, table, location)
            if cell not in cells:
                if target:
                    target.encode(cell, location)  # which names the first location of a label that it does not know
                lines.append(line)
            code = cells.setdefault(cell, len(cells))
            if is_filled and len(label_columns) == 1 and kind is not Regression:
                known[labels[0]] = code
        cell_of_row.append(code)
        for (codes_by_name, codes), value in zip(optional, others, strict=True):
            codes.append(codes_by_name.setdefault("" if value is None else str(value), len(codes_by_name)))
    incomplete.check(index + 1)
    if kind is None or not cells:
        raise DataError(f"{table.origin}: no rows below the header", "at least one row", " ".join(table.notes()))
    columns = [Categorical(tuple(codes_by_name), np.array(codes, np.int32)) for codes_by_name, codes in optional]
    locations = {cell: table.location(line) for cell, line in zip(cells, lines, strict=True)}
    target = target or kind.of_cells(locations, data, settings)
    encoded = np.array([target.encode(cell, location) for cell, location in locations.items()], target.label_type)
    rows = Dataset(
        origin=table.origin,
        stream=lambda: _stream(table, text_columns),
        ids=np.delete(np.arange(incomplete.rows), left_out),
        digests=np.frombuffer(bytes(digests), np.uint8).reshape(-1, DIGEST_BYTES),
        target=target,
        labels=encoded[cell_of_row],
        groups=columns.pop(0) if data.group else None,
        slices=columns.pop(0) if data.slice else None,
        notes=(*table.notes(), *([incomplete.note] if incomplete.note else [])),
        blanks=frozenset(blanks),
        incomplete=incomplete,
        folds=columns.pop(0) if fold else None,
        has_pairs=data.pair is not None,
        is_symmetric=data.symmetric,
    )
    return group_twins(rows) if data.symmetric else rows


def _stream(table: Table, columns: TextColumns) -> Iterator[Text]:
    """Read the texts of all rows again; an empty one for a row without any, which is left out or has changed."""
    for line, values in table.records():
        text: Text = ""
        with suppress(DataError):
            text = columns.text_of(values[: len(columns.names)], table.location(line))
        yield text


def _cell_of(kind: type[Target], values: Sequence[Any], data: DataConfig, table: Table, location: str) -> Cell:
    """Return what a row's label columns hold, as text."""
    if kind is not MultiLabel:
        value = label_cells.only_item_of(values[0], location) if isinstance(values[0], list) else values[0]
        return table.label(value, location, kind is not SingleLabel)
    if len(values) > 1:
        return label_cells.cells_of_columns(values, data.label_columns, location)
    items = label_cells.items_of(values[0], data.label_separator, location)
    return tuple(dict.fromkeys(table.label(item, location, False) for item in items))


def location_of(source: str, data: DataConfig, index: int, *, split: str) -> str:
    """Return where a row of a source is, for messages.

    Args:
        source, data, split: see `read_dataset`.
        index: of the row in the source, from 0.
    """
    table = open_table(source, data, split, [*TextColumns.of(data).names, *data.label_columns])
    line, _ = next(islice(table.records(), index, None))
    return table.location(line)


def read_names(source: str, data: DataConfig, column: str, *, split: str = "train") -> set[str]:
    """Read the different values of a column that says something of each row.

    Raises:
        DataError: a row has none; names the file and line.
    """
    table = open_table(source, data, split, [column])
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
    table, records = open_table(source, data, split, columns), []
    with suppress(DataError):
        for _, values in islice(table.records(), rows):
            records.append(values)
    return records


def read_rows(source: str, data: DataConfig, keep: Sequence[str] | None, *, split: str = "test") -> TextRows:
    """Stream the texts of a source, which needs no labels, with its other columns.

    Args:
        source: see `read_dataset`.
        data: the names of the texts' columns, and how files are to be read.
        keep: the columns that are kept beside them; None for all.
        split: of a Hub data set.

    Raises:
        DataError: there is no such source or column; while rows are read, one of them is not as it should be.
    """
    texts = TextColumns.of(data)
    table = open_table(source, data, split, texts.names)
    texts_alone = keep is not None and not keep
    names = texts.names if texts_alone else table.names()
    for column in keep or ():
        if column not in (*names, *texts.names):
            choices = ", ".join(repr(name) for name in names[:20])
            raise DataError(
                f"{table.origin}: no column {column!r} to keep", f"one of {choices}", closest(column, names)
            )
    columns = names
    if keep is not None:  # a text inside of another column's values is kept alone
        columns = tuple(name for name in dict.fromkeys((*names, *texts.names)) if name in {*texts.names, *keep})
    if repeated := [column for column in columns if names.count(column) > 1]:
        raise DataError(
            f"{table.origin}: column {repeated[0]!r} appears twice",
            "each name that is kept once",
            "name others by --keep",
        )

    def stream() -> Iterator[Row]:
        count = len(texts.names)
        for line, values in table.records() if texts_alone else table.rows(columns):
            location, cells = table.location(line), values[count:]
            row = cells[0] if cells else dict(zip(texts.names, values, strict=True))
            yield Row(location, texts.text_of(values[:count], location), row)

    def schema() -> "pyarrow.Schema":
        import pyarrow

        if (known := table.schema()) is None:
            return infer_schema(stream(), columns)
        return pyarrow.schema(
            [known.field(name) if name in known.names else pyarrow.field(name, pyarrow.string()) for name in columns]
        )

    return TextRows(table.origin, columns, texts.names, stream, schema, table.notes)


def column_names(source: str, data: DataConfig, split: str) -> tuple[str, ...]:
    """Return the names of the columns of a source that has been read."""
    return open_table(source, data, split, data.label_columns).names()


def is_file(source: str) -> bool:
    """Return whether a source is a file, existing or not, or a folder of class folders, rather than a Hub data set."""
    return files.is_local(source)
