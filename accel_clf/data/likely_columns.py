"""Which columns look like the text and the label: for messages only, nothing is read by a guess."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from accel_clf.config.schema import DataConfig
from accel_clf.core.errors import MissingColumnError

SAMPLE = 300  # rows that are looked at
ROWS_PER_LABEL = 2  # at least, on average, in a column that looks like the label


def with_guess(error: MissingColumnError, data: DataConfig, sample: Sequence[Sequence[Any]]) -> MissingColumnError:
    """Add to an error what looks like the columns of text and label that are not there.

    Args:
        error: of the training data.
        data: the settings, which name the columns.
        sample: the first rows, with all columns.

    Returns:
        The error, with what the command needs; as it was where neither of the two is missing.
    """
    columns = {name: values for name, values in zip(error.names, zip(*sample, strict=True), strict=False) if name}
    texts, labels = data.text_columns, data.label_columns
    missing = {
        role: len(names) == 1 and names[0] not in columns for role, names in (("text", texts), ("label", labels))
    }
    if not columns or not any(missing.values()):
        return error

    def same_name(role: str, column: str) -> str | None:
        if role in data.model_fields_set:
            return next(iter(get_close_matches(column, columns, n=1)), None)
        return next((name for name in columns if name.strip().casefold() == column), None)

    guesses: dict[str, str | None] = {"text": texts[0], "label": labels[0]}
    if missing["text"]:
        guesses["text"] = same_name("text", texts[0]) or likely_text(
            {name: values for name, values in columns.items() if name not in (*labels, data.pair)}
        )
    if missing["label"]:
        taken = (guesses["text"], *texts, data.pair, data.group, data.slice, data.fold)
        guesses["label"] = same_name("label", labels[0]) or likely_label(
            {name: values for name, values in columns.items() if name not in taken}
        )
    guessed = [f"{guesses[role]!r} looks like the {role}" for role in missing if missing[role] and guesses[role]]
    flags = {role: guesses[role] or "COLUMN" for role in missing if missing[role]}
    return MissingColumnError(
        error.got,
        "; ".join([error.expected, ", ".join(guessed)] if guessed else [error.expected]),
        "name the right ones: " + " ".join(f"--{role} {column}" for role, column in flags.items()),
        error.names,
        flags,
    )


def likely_text(columns: dict[str, Sequence[Any]]) -> str | None:
    """Return the column of strings, not all of them numbers, that are the longest on average; None for none."""
    lengths = {}
    for name, values in columns.items():
        strings = [value for value in values if isinstance(value, str)]
        if len(strings) == len(values) - values.count(None) and not all(map(_is_number, strings)):
            lengths[name] = sum(map(len, strings)) / len(strings)
    return max(lengths, key=lambda name: lengths[name], default=None)


def likely_label(columns: dict[str, Sequence[Any]]) -> str | None:
    """Return the column with the fewest different values, though with two; None where all have many."""
    counts = {name: len(set(map(str, values))) for name, values in columns.items()}
    few = [name for name, count in counts.items() if 2 <= count <= max(2, len(columns[name]) / ROWS_PER_LABEL)]
    return min(few, key=lambda name: counts[name], default=None)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
