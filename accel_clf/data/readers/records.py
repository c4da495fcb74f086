"""What a reader is asked for and gives: columns of records, and their places."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accel_clf.config.schema import DataConfig
from accel_clf.core.errors import DataError, MissingColumnError, closest

# The line, row or file, and the values of the requested columns; then, where columns are kept, these: see Request.
Record = tuple[int | str, tuple[Any, ...]]


@dataclass(frozen=True)
class Request:
    """What is to be read.

    Attributes:
        path: the file or folder.
        kind: of it, one of files.KINDS.
        columns: names of columns.
        data: says how the file is to be read.
        remarks: what a user should know about what was read, once each, with its count.
        kept: the columns of what follows the values of each record, column -> value or an ArrowRow, which may have
            others, too; None where nothing does.
    """

    path: Path
    kind: str
    columns: Sequence[str]
    data: DataConfig
    remarks: Counter[str] = field(default_factory=Counter)
    kept: tuple[str, ...] | None = None

    @property
    def is_labelled(self) -> bool:
        """Whether the labels are requested, too."""
        return set(self.data.label_columns) <= set(self.columns)


def require_columns(
    path: Path | str, names: Sequence[str], columns: Sequence[str], location: str = "", hint: str = "", note: str = ""
) -> None:
    """Check that a table has the requested columns, each once.

    Args:
        path: the table, for messages.
        names: the columns that it has.
        columns: those that were requested.
        location: of the header, for messages.
        hint: what to do, where that is known.
        note: what else could be right.

    Raises:
        MissingColumnError: a column is missing.
        DataError: one is there twice.
    """
    for column in columns:
        if column not in names or not column:
            if padded := next((name for name in names if name.strip() == column), ""):
                hint = f"remove the blanks from its name, {padded!r}"
            choices = ", ".join(repr(name) for name in names[:20] if name)
            got, expected = f"{path}{location}: no column {column!r}", f"one of {choices}" if choices else ""
            if hint:
                raise DataError(got, expected, hint)
            readable = [name for name in names if name and names.count(name) == 1]
            fix = "name the right one by --data.text or --data.label (`predict`, `evaluate`: --text, --label)"
            raise MissingColumnError(got, expected + note, closest(column, readable) or fix, readable)
        if names.count(column) > 1:
            raise DataError(f"{path}{location}: column {column!r} appears twice", "each name that is read once")


def distinct(names: Sequence[str], request: Request) -> list[str]:
    """Return the names by which columns are kept: where some have one name, or none, with their numbers.

    Args:
        names: the columns', as the file has them.
        request: the file's; how many of those are kept is remarked.
    """
    counts = Counter(names)
    distinct_names = [
        name if counts[name] == 1 else f"{name} (column {number})".strip() for number, name in enumerate(names, start=1)
    ]
    kept = request.kept or ()
    if repeated := [
        name for name, original in zip(distinct_names, names, strict=True) if name != original and name in kept
    ]:
        request.remarks[f"columns whose name another has, too, kept as {repeated[0]!r} ..."] += len(repeated)
    return distinct_names


def value_at(value: Any, name: str) -> Any:
    """Return what is under a name, inside of nested values by dots: `data.text`.

    Names go through lists: what their items have there is one list, each value once.

    Raises:
        KeyError: there is nothing.
    """
    if isinstance(value, Mapping):
        if name in value:
            return value[name]
        first, _, rest = name.partition(".")
        if not rest:
            raise KeyError(name)
        return value_at(value[first], rest)
    if isinstance(value, list):
        values: list[Any] = []
        for item in value:
            try:
                inner = value_at(item, name)
            except KeyError:  # items of another kind
                continue
            values += [one for one in (inner if isinstance(inner, list) else [inner]) if one not in values]
        return values
    raise KeyError(name)


def names_in(value: Any, prefix: str = "") -> Iterator[str]:
    """Iterate over the names by which `value_at` reaches the values that are not nested."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from names_in(inner, f"{prefix}.{key}".removeprefix("."))
    elif isinstance(value, list) and any(isinstance(item, Mapping | list) for item in value):
        names = dict.fromkeys(name for item in value for name in names_in(item, prefix))
        yield from names
    else:
        yield prefix


def refuse_nul(path: Path, location: str, column: str) -> DataError:
    """Make the error of a NUL character, which no tokenizer expects: such files are damaged or not text."""
    return DataError(
        f"{path}, {location}: a NUL character in column {column!r}", "text", "remove it, or save the file again"
    )
