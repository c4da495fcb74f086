"""Read labelled rows from the demo, a file or a Hub data set."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from accel_clf.config.schema import DataConfig
from accel_clf.core import hub_errors
from accel_clf.core.errors import DataError
from accel_clf.data import demo_corpus, readers
from accel_clf.data.dataset import DIGEST_BYTES, Categorical, Dataset, digest


def read_dataset(source: str, data: DataConfig, *, split: str, label_names: Sequence[str] | None = None) -> Dataset:
    """The labelled rows of a source.

    Args:
        source: "demo", a file, or a Hub data set's id or folder.
        data: the names of the columns.
        split: the split of a Hub data set.
        label_names: the labels that may appear, in their order; None takes those that do appear, integers in numeric
            and everything else in alphabetic order.

    Raises:
        DataError: with the place, for whatever cannot be read or used.
    """
    optional = [column for column in (data.group, data.slice) if column]
    table = _table(source, data.config, split, [data.text, data.label, *optional])
    label_names = table.label_order if label_names is None and table.label_order else label_names
    digests = bytearray()
    seen: dict[str, int] = {name: code for code, name in enumerate(label_names or ())}
    found: list[int] = []
    others: list[tuple[dict[str, int], list[int]]] = [({}, []) for _ in optional]
    for line, (text, label, *rest) in table.records():
        place = f"{table.origin}, {table.unit} {line}"
        digests += digest(_text(text, place, data.text))
        name = table.label(label, place)
        if label_names is not None and name not in seen:
            raise DataError(
                f"{place}: label {name!r}",
                f"one of the training rows' labels: {', '.join(map(repr, list(seen)[:12]))}"
                + (" ..." if len(seen) > 12 else ""),
            )
        found.append(seen.setdefault(name, len(seen)))
        for (known, codes), value in zip(others, rest, strict=True):
            codes.append(known.setdefault("" if value is None else str(value), len(known)))
    if not found:
        raise DataError(f"{table.origin}: no rows below the header", "at least one row")
    columns = [Categorical(tuple(known), np.array(codes, np.int32)) for known, codes in others]
    labels = Categorical(tuple(seen), np.array(found, np.int32))
    return Dataset(
        origin=table.origin,
        stream=lambda: (text for _, (text, *_) in table.records()),
        ids=np.arange(len(found)),
        digests=np.frombuffer(bytes(digests), np.uint8).reshape(-1, DIGEST_BYTES),
        labels=labels if label_names is not None else _sorted(labels),
        groups=columns.pop(0) if data.group else None,
        slices=columns.pop(0) if data.slice else None,
    )


def read_texts(source: str, text_column: str, *, config: str | None = None, split: str = "test") -> Iterator[str]:
    """The texts of a source that needs no labels, streamed."""
    table = _table(source, config, split, [text_column])
    for line, (text,) in table.records():
        yield _text(text, f"{table.origin}, {table.unit} {line}", text_column)


def is_file(source: str) -> bool:
    """Whether a source is a file, there or not, rather than a Hub data set or one of its splits."""
    return bool(readers.kind(Path(source))) or Path(source).is_file()


@dataclass(frozen=True)
class _Table:
    """A source of records, with its own way of naming places and labels."""

    origin: str
    unit: str
    records: Callable[[], Iterator[readers.Record]]
    label: Callable[[Any, str], str]
    label_order: tuple[str, ...] | None = None


def _table(source: str, config: str | None, split: str, columns: Sequence[str]) -> _Table:
    path = Path(source)
    if source == "demo":
        readers.require("the demo", ("text", "label"), columns)
        places = [("text", "label").index(column) for column in columns]

        rows = demo_corpus.rows(split)

        def records() -> Iterator[readers.Record]:
            for number, row in enumerate(rows, start=1):
                yield number, tuple(row[place] for place in places)

        return _Table("the demo", "row", records, _label, demo_corpus.LABELS)
    if is_file(source):
        unit = "row" if readers.kind(path) == ".parquet" else "line"
        return _Table(str(path), unit, lambda: readers.read(path, columns), _label)
    for name in (f"{split}{suffix}{packed}" for suffix in readers.SUFFIXES for packed in ("", ".gz")):
        if (path / name).is_file():  # datasets would read a CSV by pandas, which takes "01" for a number
            return _table(str(path / name), config, split, columns)
    return _hub_table(source, config, split, columns)


def _hub_table(source: str, config: str | None, split: str, columns: Sequence[str]) -> _Table:
    import datasets

    datasets.disable_progress_bars()
    try:
        loaded = datasets.load_dataset(source, config, split=split)
    except ValueError as error:
        # Whatever is wrong with the configuration's or the split's name is a ValueError that lists the right ones.
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
    readers.require(origin, loaded.column_names, columns)
    chosen = loaded.select_columns(list(columns))
    features = [loaded.features[column] for column in columns]
    names = features[1].names if len(columns) > 1 and isinstance(features[1], datasets.ClassLabel) else None

    def label(value: Any, place: str) -> str:
        if names is None:
            return _label(value, place)
        if value is None or value < 0:  # how the Hub marks the hidden labels of a competition's test split
            raise DataError(f"{place}: no label", "a split whose rows have labels")
        return str(names[value])

    def records() -> Iterator[readers.Record]:
        for number, record in enumerate(chosen, start=1):
            yield number, tuple(record[column] for column in columns)

    return _Table(origin, "row", records, label, tuple(names) if names else None)


def _text(value: Any, place: str, column: str) -> str:
    if not isinstance(value, str):
        raise DataError(f"{place}: column {column!r} is {'null' if value is None else type(value).__name__}", "text")
    check_text(value, place)
    return value


def check_text(text: str, place: str) -> None:
    """Refuse what is no Unicode text, which no tokenizer takes.

    Raises:
        DataError: a lone surrogate, as JSON escapes and undecodable arguments may leave behind.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{place}: a lone surrogate (U+{ord(text[error.start]):04X}) at character {error.start}", "Unicode text"
        ) from None


def _label(value: Any, place: str) -> str:
    """A label as it was written. A float would come back as another string than the one in the user's file."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str):
        got = "null" if value is None else f"{value!r}, a {type(value).__name__}"
        raise DataError(f"{place}: the label is {got}", "a string or an integer")
    if not value:
        raise DataError(f"{place}: the label is empty", "a string or an integer", "fill it in or drop the row")
    return value


def _sorted(column: Categorical) -> Categorical:
    """The same column with its names in their lasting order: by number where all are integers, else by alphabet."""
    integers = all(name.removeprefix("-").isdecimal() and str(int(name)) == name for name in column.names)
    names = sorted(column.names, key=int) if integers else sorted(column.names)
    places = {name: code for code, name in enumerate(names)}
    renumbered = np.array([places[name] for name in column.names], np.int32)
    return Categorical(tuple(names), renumbered[column.codes])
