"""Curves of dots, for terminals: braille characters have two dots by four each."""

from collections.abc import Sequence

BLANK = 0x2800  # the character without dots
DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))  # of each column, from the top


def braille(points: Sequence[tuple[float, float]], width: int, height: int) -> list[str]:
    """Draw a curve, from its least to its greatest value, over the whole width.

    Args:
        points: x and y, in the order of x.
        width, height: in characters.

    Returns:
        Lines from the top, of `width` characters each.
    """
    cells = [[0] * width for _ in range(height)]
    columns, rows = 2 * width - 1, 4 * height - 1  # the last of the dots
    lowest, highest = min(y for _, y in points), max(y for _, y in points)
    first, last = points[0][0], points[-1][0]

    def column(x: float) -> int:
        return round((x - first) / (last - first) * columns) if last > first else columns

    def row(y: float) -> int:
        return round((highest - y) / (highest - lowest) * rows) if highest > lowest else rows // 2

    # In each column the line reaches from where it was in the one before to where it is, and over all values there.
    dots = [(column(x), row(y)) for x, y in points]
    spans: dict[int, tuple[int, int]] = {}
    level = dots[0][1]
    for (start, height_before), (end, height_at_end) in zip([dots[0], *dots], dots, strict=False):
        for at in range(min(start + 1, end), end + 1):
            before, share = level, (at - start) / (end - start) if end > start else 1.0
            level = round(height_before + share * (height_at_end - height_before))
            top, bottom = spans.get(at, (level, level))
            spans[at] = (min(top, before, level), max(bottom, before, level))
    for at, (top, bottom) in spans.items():
        for level in range(top, bottom + 1):
            cells[level // 4][at // 2] |= DOTS[at % 2][level % 4]
    return ["".join(chr(BLANK + dots) for dots in line) for line in cells]
