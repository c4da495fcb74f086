"""Names of labels and slices as they are shown: they may be anything, and each is to keep its place."""

NO_LABEL = "(none)"  # of a text that may have several
LONGEST = 32  # characters of a name in a line


def shortened(name: str, longest: int = LONGEST) -> str:
    """Return a name's beginning in one line, without what would move the cursor or turn the line round; never blank."""
    line = "".join(letter if letter.isprintable() else " " for letter in name)
    if not line.strip():
        return "(empty)"
    return line if len(line) <= longest else f"{line[: longest - 1]}…"
