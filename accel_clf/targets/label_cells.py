"""How the labels of a text that may have several are written: columns of 0 and 1, lists, or one cell."""

import json
from collections.abc import Sequence
from typing import Any

from accel_clf.core.errors import DataError


def cells_of_columns(values: Sequence[Any], columns: Sequence[str], location: str) -> tuple[str, ...]:
    """Return the labels of a row that has a column of 0 and 1 for each.

    Raises:
        DataError: a value is neither.
    """
    labels = []
    for column, value in zip(columns, values, strict=True):
        text = str(value).strip().lower()
        if text not in ("0", "1", "true", "false", "0.0", "1.0"):
            raise DataError(f"{location}: column {column!r} is {'null' if value is None else repr(value)}", "0 or 1")
        if text in ("1", "true", "1.0"):
            labels.append(column)
    return tuple(labels)


def is_null(value: Any) -> bool:
    """Whether a cell holds nothing: null, or the NaN that a column of floats has in its place."""
    return value is None or (isinstance(value, float) and value != value)


def is_missing(values: Sequence[Any], separator: str | None) -> bool:
    """Whether a row has no label: a null, or a cell that is empty. A text that may have several labels may have none.

    Args:
        values: what the label columns hold.
        separator: of the labels in a cell, where it may hold several: an empty one is a text without labels.
    """
    return any(is_null(value) or (value == "" and separator is None) for value in values)


def is_list(value: Any) -> bool:
    """Whether a value of a label column is a list, or the JSON of one."""
    return isinstance(value, list) or (
        isinstance(value, str) and value.lstrip().startswith("[") and _parse(value) is not None
    )


def _parse(text: str) -> list[Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, list) else None


def items_of(value: Any, separator: str | None, location: str) -> list[Any]:
    """Return what a cell with several labels holds.

    Args:
        value: a list, the JSON of one, or labels between separators.
        separator: None where there are lists only.
        location: of the cell, for messages.

    Raises:
        DataError: it is none of these.
    """
    if isinstance(value, list):
        return value
    if separator is not None and isinstance(value, str):
        return [part.strip() for part in value.split(separator)] if value.strip() else []
    parsed = _parse(value) if isinstance(value, str) else None
    if parsed is None:
        raise DataError(
            f"{location}: the label is {'null' if value is None else repr(value)}",
            'a list of labels: ["a", "b"]',
            'or --data.label_separator "|", for labels in one cell',
        )
    return parsed


def only_item_of(value: list[Any], location: str) -> Any:
    """Return the label of a cell with a list of one, as annotation tools write it; None where the list is empty.

    Raises:
        DataError: the list has several.
    """
    if len(value) > 1:
        raise DataError(
            f"{location}: {len(value)} labels: {', '.join(map(repr, value[:5]))}",
            "one",
            "--target.type multi_label, where a text may have several",
        )
    return value[0] if value else None
