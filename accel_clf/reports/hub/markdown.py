"""Markdown as the Hub shows it, with words from data in it that may look like Markdown, HTML or YAML."""

import re
import unicodedata
from collections.abc import Iterable, Sequence

_SPECIAL = re.compile(r"([\\`*_{}\[\]()#|~$!^])")
_BIDI_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
LONGEST_WORD = 80  # characters of a label


def escape(text: str) -> str:
    """Write a text from data so that it is shown as it is, in one line; a very long one is cut."""
    line = "".join(" " if unicodedata.category(letter) in ("Cc", "Zl", "Zp") else letter for letter in text)
    line = "".join(letter for letter in line if letter not in _BIDI_CONTROLS)
    line = line if len(line) <= LONGEST_WORD else f"{line[: LONGEST_WORD - 3]}..."
    line = _SPECIAL.sub(r"\\\1", line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))
    # What looks like an address is no link of the card's: the mark behind its first word is written as an entity.
    return re.sub(r"(?i)\b(https?|ftp|www)([:.])", lambda match: f"{match[1]}&#{ord(match[2])};", line)


def listed(names: Sequence[str], most: int) -> str:
    """Write the first names in a line, and how many there are beside them."""
    beside = len(names) - most
    more = f" and {beside} {'other' if beside == 1 else 'others'}" if beside > 0 else ""
    return ", ".join(map(escape, names[:most])) + more


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table: the first column to the left, all others to the right. Cells are Markdown."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
