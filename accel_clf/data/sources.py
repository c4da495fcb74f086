"""Read labelled rows from the demo, a file or a Hub data set."""

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from accel_clf.config.schema import DataConfig, TargetConfig
from accel_clf.core import hub_errors
from accel_clf.core.errors import DataError
from accel_clf.data import demo_corpus, readers
from accel_clf.data.dataset import DIGEST_BYTES, Categorical, Dataset, digest
from accel_clf.data.incomplete import IncompleteRows, is_blank
from accel_clf.targets import label_cells, registry
from accel_clf.targets.base import Cell, Target
from accel_clf.targets.multi_label import MultiLabel
from accel_clf.targets.regression import Regression
from accel_clf.targets.single_label import SingleLabel

DEFAULT = TargetConfig()
MAX_WHOLE_FLOAT = 2**53  # beyond it, floats skip integers


def read_dataset(
    source: str, data: DataConfig, settings: TargetConfig = DEFAULT, *, split: str, target: Target | None = None
) -> Dataset:
    """Read the labelled rows of a source.

    Args:
        source: "demo", a file, or the id or folder of a Hub data set.
        data: the names of the columns.
        settings: the kind of target, where it is not known yet.
        split: of a Hub data set.
        target: what is predicted; None takes what the labels suggest.

    Raises:
        DataError: something cannot be read or used; names the file and line.
    """
    optional_columns = [column for column in (data.group, data.slice) if column]
    label_columns = data.label_columns
    table = _open_table(source, data.config, split, [data.text, *label_columns, *optional_columns])
    digests = bytearray()
    cells: dict[Cell, int] = {}  # each of the label columns', once
    lines: list[int] = []  # where each first occurs
    cell_of_row: list[int] = []
    ids = array("q")
    blanks: set[bytes] = set()
    incomplete = IncompleteRows(table.origin, table.unit, data)
    optional: list[tuple[dict[str, int], list[int]]] = [({}, []) for _ in optional_columns]
    kind: type[Target] | None = type(target) if target else None
    for index, (line, (text, *others)) in enumerate(table.records()):
        labels, others = others[: len(label_columns)], others[len(label_columns) :]
        if incomplete.leaves_out(line, text, labels):
            continue
        location = table.location(line)
        ids.append(index)
        text_digest = digest(_require_text(text, location, data.text))
        digests += text_digest
        if is_blank(text):
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
        raise DataError(f"{table.origin}: no rows below the header", "at least one row")
    columns = [Categorical(tuple(codes_by_name), np.array(codes, np.int32)) for codes_by_name, codes in optional]
    locations = {cell: table.location(line) for cell, line in zip(cells, lines, strict=True)}
    target = target or kind.of_cells(locations, data, settings)
    encoded = np.array([target.encode(cell, location) for cell, location in locations.items()], target.label_type)
    return Dataset(
        origin=table.origin,
        stream=lambda: (text for _, (text, *_) in table.records()),
        ids=np.array(ids),
        digests=np.frombuffer(bytes(digests), np.uint8).reshape(-1, DIGEST_BYTES),
        target=target,
        labels=encoded[cell_of_row],
        groups=columns.pop(0) if data.group else None,
        slices=columns.pop(0) if data.slice else None,
        blanks=frozenset(blanks),
        incomplete=incomplete,
    )


def _cell_of(kind: type[Target], values: Sequence[Any], data: DataConfig, table: "_Table", location: str) -> Cell:
    """Return what a row's label columns hold, as text."""
    if kind is not MultiLabel:
        return table.label(values[0], location, kind is not SingleLabel)
    if len(values) > 1:
        return label_cells.cells_of_columns(values, data.label_columns, location)
    items = label_cells.items_of(values[0], data.label_separator, location)
    return tuple(dict.fromkeys(table.label(item, location, False) for item in items))


def read_texts(source: str, text_column: str, *, config: str | None = None, split: str = "test") -> Iterator[str]:
    """Stream the texts of a source, which needs no labels."""
    table = _open_table(source, config, split, [text_column])
    for line, (text,) in table.records():
        yield _require_text(text, table.location(line), text_column)


def column_names(source: str) -> tuple[str, ...]:
    """Return the names of the columns of a source that has been read; none of a Hub data set."""
    if source == "demo":
        return ("text", "label")
    return readers.column_names(Path(source)) if is_file(source) else ()


def is_file(source: str) -> bool:
    """Return whether a source is a file, existing or not, rather than a Hub data set or one of its splits."""
    return bool(readers.format_suffix(Path(source))) or Path(source).is_file()


@dataclass(frozen=True)
class _Table:
    """The records of a source.

    Attributes:
        origin: the name of the source, for messages.
        unit: what records are counted in, "line" or "row".
        records: iterates over the records; may be called repeatedly.
        label: turns a label's value into text; its other arguments are the location, for messages, and whether it
            may be any number.
        label_order: the labels in the source's own order, if it has one.
    """

    origin: str
    unit: str
    records: Callable[[], Iterator[readers.Record]]
    label: Callable[[Any, str, bool], str]
    label_order: tuple[str, ...] | None = None

    def location(self, line: int) -> str:
        """Name a record's place, for messages."""
        return f"{self.origin}, {self.unit} {line}"


def _open_table(source: str, config: str | None, split: str, columns: Sequence[str]) -> _Table:
    path = Path(source)
    if source == "demo":
        readers.require_columns("the demo", ("text", "label"), columns)
        indices = [("text", "label").index(column) for column in columns]
        rows = demo_corpus.rows(split)

        def records() -> Iterator[readers.Record]:
            for number, row in enumerate(rows, start=1):
                yield number, tuple(row[index] for index in indices)

        return _Table("the demo", "row", records, _label_text, demo_corpus.LABELS)
    if is_file(source):
        unit = "row" if readers.format_suffix(path) == ".parquet" else "line"
        return _Table(str(path), unit, lambda: readers.read(path, columns), _label_text)
    for name in (f"{split}{suffix}{gz}" for suffix in readers.SUFFIXES for gz in ("", ".gz")):
        if (path / name).is_file():  # datasets would read a CSV by pandas, which takes "01" for a number
            return _open_table(str(path / name), config, split, columns)
    return _open_hub_table(source, config, split, columns)


def _open_hub_table(source: str, config: str | None, split: str, columns: Sequence[str]) -> _Table:
    import datasets

    datasets.disable_progress_bars()
    try:
        loaded = datasets.load_dataset(source, config, split=split)
    except ValueError as error:
        # A wrong name of the configuration or the split is a ValueError that lists the right ones.
        raise DataError(
            f"data set {source}: {str(error).splitlines()[0]}", fix="set --data.config, --data.split or --data.test"
        ) from None
    except Exception as error:
        if Path(source).exists() or source.startswith(("/", ".", "~")):
            raise DataError(
                f"{source}: {str(error).splitlines()[0]}",
                f"a file ({' '.join(readers.SUFFIXES)}) or a data set's folder",
            ) from None
        raise hub_errors.explain(error, "data set", source, DataError) from None
    origin = f"data set {source} ({split})"
    readers.require_columns(origin, loaded.column_names, columns)
    selected = loaded.select_columns(list(columns))
    features = [loaded.features[column] for column in columns]
    of_labels = getattr(features[1], "feature", features[1]) if len(columns) > 1 else None  # a list's is inside
    names = of_labels.names if isinstance(of_labels, datasets.ClassLabel) else None

    def label(value: Any, location: str, is_number: bool) -> str:
        if names is None:
            return _label_text(value, location, is_number)
        if value is None or value < 0:
            raise DataError(f"{location}: no label", "a split whose rows have labels")
        return str(names[value])

    def records() -> Iterator[readers.Record]:
        for number, record in enumerate(selected, start=1):
            values = [record[column] for column in columns]
            # -1 is how the Hub marks the hidden labels of a competition's test split.
            if names is not None and isinstance(values[1], int) and values[1] < 0:
                values[1] = None
            yield number, tuple(values)

    return _Table(origin, "row", records, label, tuple(names) if names else None)


def _require_text(value: Any, location: str, column: str) -> str:
    if not isinstance(value, str):
        raise DataError(f"{location}: column {column!r} is {'null' if value is None else type(value).__name__}", "text")
    check_text(value, location)
    return value


def check_text(text: str, location: str) -> None:
    """Check that a string is valid Unicode, which tokenizers need.

    Raises:
        DataError: it has a lone surrogate, as JSON escapes and undecodable arguments may leave behind.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{location}: a lone surrogate (U+{ord(text[error.start]):04X}) at character {error.start}", "Unicode text"
        ) from None


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
