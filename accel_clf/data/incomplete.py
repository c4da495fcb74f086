"""Rows without a text or a label: all are counted, then refused together, or left out."""

from collections.abc import Sequence
from typing import Any

from accel_clf.config.schema import DataConfig
from accel_clf.core.errors import DataError
from accel_clf.targets import label_cells

MAX_LOCATIONS = 3
NO_TEXT, NO_LABEL, BLANK = "no text", "no label", "an empty text"


class IncompleteRows:
    """The incomplete rows of a source, counted while it is read.

    A null is no text. A text of nothing but spaces is one, which is left out where rows may be, and otherwise kept. Of
    several columns one with a text is enough; of a pair both sides need one.

    Attributes:
        rows: those read, once all are.
        left_out: those that cannot be used.
        counts: problem -> rows that have it.
    """

    def __init__(self, origin: str, unit: str, data: DataConfig) -> None:
        self._origin, self._unit, self._separator = origin, unit, data.label_separator
        self._skip = data.incomplete == "skip"
        self._lines: dict[str, list[int | str]] = {NO_TEXT: [], NO_LABEL: [], BLANK: []}  # the first of each
        self.counts = dict.fromkeys(self._lines, 0)
        self.rows = self.left_out = 0

    def leaves_out(self, line: int | str, text: Sequence[Sequence[Any]], labels: Sequence[Any]) -> bool:
        """Count a row's problems; return whether it cannot be used.

        Args:
            line: its place.
            text: the values of its text, and of the second one of a pair: see TextColumns.by_side.
            labels: the values of its label columns.
        """
        problems = []
        for values in text:
            if all(map(label_cells.is_null, values)):
                problems = [NO_TEXT]
                break
            if all(label_cells.is_null(value) or is_blank(value) for value in values):
                problems = [BLANK]
        if label_cells.is_missing(labels, self._separator):
            problems.append(NO_LABEL)
        for problem in problems:
            self.counts[problem] += 1
            if len(self._lines[problem]) <= MAX_LOCATIONS:
                self._lines[problem].append(line)
        if not problems or (problems == [BLANK] and not self._skip):
            return False
        self.left_out += 1
        return True

    def check(self, rows: int) -> None:
        """Check that rows which cannot be used may be left out, and that others remain.

        Args:
            rows: all that were read.

        Raises:
            DataError: they may not, or none does; names the first of them.
        """
        self.rows = rows
        if self.left_out and not self._skip:
            raise DataError(
                f"{self._origin}: {self._describe(f' of {self.rows} rows')}",
                "a text and a label in each row",
                "fill them in, or leave these rows out: --data.incomplete skip (`evaluate`: --incomplete skip)",
            )
        if self.left_out == self.rows > 0:
            raise DataError(
                f"{self._origin}: {self._describe(f' of {self.rows} rows')}; nothing remains",
                "rows with a text and a label",
                "name the columns: --data.text, --data.label; the test split of a competition may have no labels",
            )

    @property
    def note(self) -> str:
        """Say how many rows are left out, and why; empty where none is."""
        if not self.left_out:
            return ""
        return f"{self._origin}: {self.left_out} of {self.rows} rows left out: {self._describe()}"

    def _describe(self, total: str = "") -> str:
        parts: list[str] = []
        for problem, count in self.counts.items():
            if count:
                first = ", ".join(map(str, self._lines[problem][:MAX_LOCATIONS]))
                more = " ..." if count > MAX_LOCATIONS else ""
                verb = "" if parts else " has" if count == 1 else " have"
                parts.append(f"{count}{'' if parts else total}{verb} {problem} ({self._unit} {first}{more})")
        return ", ".join(parts)


def is_blank(text: Any) -> bool:
    """Whether a text has nothing but spaces."""
    return isinstance(text, str) and (not text or text.isspace())
