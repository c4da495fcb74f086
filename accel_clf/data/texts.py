"""What the text of a row is: a column's value, or several columns' joined."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from accel_clf.config.schema import DataConfig
from accel_clf.core.errors import DataError

SEPARATOR = " "  # between the values of several columns: a text of one line stays one, as it is typed and printed


class TextColumns(NamedTuple):
    """The columns that a text is in.

    Attributes:
        names: one column, or several that are joined in this order.
    """

    names: tuple[str, ...]

    @classmethod
    def of(cls, data: DataConfig) -> "TextColumns":
        """Return the columns that settings name."""
        return cls(data.text_columns)

    def text_of(self, values: Sequence[Any], location: str) -> str:
        """Return a row's text, of several columns without those that are empty or null.

        Args:
            values: of the columns, in their order.
            location: of the row, for messages.

        Raises:
            DataError: a value is not Unicode text, or none of them is any.
        """
        if len(self.names) == 1:
            return _require_text(values[0], location, self.names[0])
        if any(value is not None for value in values):
            values = ["" if value is None else value for value in values]
        texts = [_require_text(value, location, name) for name, value in zip(self.names, values, strict=True)]
        return SEPARATOR.join(filter(None, texts))


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
