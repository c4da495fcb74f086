"""What the text of a row is: a column's value, or several columns' joined; or a pair, with another column's."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from accel_clf.config.schema import DataConfig
from accel_clf.core.errors import DataError
from accel_clf.targets.label_cells import is_null

Text = str | tuple[str, str]  # or a pair
TEXT, TEXT_PAIR = "text", "text_pair"  # what the texts of a pair are called, as in transformers' pipelines
SEPARATOR = " "  # between the values of several columns: a text of one line stays one, as it is typed and printed


class TextColumns(NamedTuple):
    """The columns that a text is in.

    Attributes:
        joined: one column, or several that are joined in this order.
        pair: the column with the second text of a pair; None where there are no pairs.
    """

    joined: tuple[str, ...]
    pair: str | None = None

    @classmethod
    def of(cls, data: DataConfig) -> "TextColumns":
        """Return the columns that settings name."""
        return cls(data.text_columns, data.pair)

    @property
    def names(self) -> tuple[str, ...]:
        """All of the columns."""
        return self.joined if self.pair is None else (*self.joined, self.pair)

    def by_side(self, values: Sequence[Any]) -> tuple[Sequence[Any], ...]:
        """Divide a row's values, in the order of `names`, into those of the text and that of its pair."""
        return (values,) if self.pair is None else (values[:-1], values[-1:])

    def text_of(self, values: Sequence[Any], location: str) -> Text:
        """Return a row's text, of several columns without those that are empty or null; or its pair.

        Args:
            values: of all columns, in the order of `names`.
            location: of the row, for messages.

        Raises:
            DataError: a value is not Unicode text, or none of them is any.
        """
        if self.pair is None:
            return self._join(values, location)
        return self._join(values[:-1], location), _require_text(values[-1], location, self.pair)

    def parse(self, value: Any, location: str) -> Text:
        """Return an input as a row's text, or as its pair.

        Args:
            value: a text, or {"text": ...}; where there are pairs both texts in a list, or {"text": ..., "text_pair":
                ...}; or the columns' values by their names.
            location: of the input, for messages.

        Raises:
            DataError: it is none of these, or not Unicode.
        """
        if isinstance(value, Mapping) and set(value) == set(self.names):
            return self.text_of([value[name] for name in self.names], location)
        names = side_names(self.pair is not None)
        texts: Sequence[Any] = ()
        if isinstance(value, Mapping) and set(value) == set(names):
            texts = [value[name] for name in names]
        elif isinstance(value, str):
            texts = [value]
        elif isinstance(value, list | tuple) and self.pair is not None:
            texts = value
        if len(texts) != len(names) or not all(isinstance(text, str) for text in texts):
            raise DataError(f"{location}: {_describe(value)}", self._expected())
        for text in texts:
            check_text(text, location)
        return texts[0] if self.pair is None else (texts[0], texts[1])

    def _expected(self) -> str:
        """Say what `parse` takes."""
        pair = f'a pair of texts: {{"{TEXT}": ..., "{TEXT_PAIR}": ...}} or [..., ...]'
        one = "a text" if self.pair is None else pair
        objects = f", or an object with {' and '.join(self.names)}" if len(self.names) > 1 else ""
        return one + objects

    def _join(self, values: Sequence[Any], location: str) -> str:
        if len(self.joined) == 1:
            return _require_text(values[0], location, self.joined[0])
        if not all(map(is_null, values)):
            values = ["" if is_null(value) else value for value in values]
        texts = [_require_text(value, location, name) for name, value in zip(self.joined, values, strict=True)]
        return SEPARATOR.join(filter(None, texts))


def _describe(value: Any) -> str:
    """Say what an input is, without its texts."""
    if isinstance(value, Mapping):
        return f"an object with {', '.join(map(repr, value)) or 'nothing'}"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    return "a text" if isinstance(value, str) else f"a {type(value).__name__}"


def sides(text: Text) -> tuple[str, ...]:
    """Return a text alone, or both of a pair."""
    return (text,) if isinstance(text, str) else text


def swap(text: Text) -> Text:
    """Return a pair in its other order."""
    first, second = sides(text)
    return second, first


def side_names(is_pair: bool) -> tuple[str, ...]:
    """Return what `sides` are called in tables."""
    return (TEXT, TEXT_PAIR) if is_pair else (TEXT,)


def _require_text(value: Any, location: str, column: str) -> str:
    if not isinstance(value, str):
        fix = "a table by columns, as of pandas, is written by rows: to_json(orient='records')"
        got = "null" if value is None else type(value).__name__
        raise DataError(f"{location}: column {column!r} is {got}", "text", fix if isinstance(value, dict) else "")
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
