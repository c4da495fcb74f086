"""Progress for people: a bar on a terminal, plain lines otherwise, both on standard error; and tables."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

SECONDS_BETWEEN_LINES = 10.0


class Bar:
    """The progress of a task in steps, whose total may be unknown."""

    def __init__(self, description: str, total: int | None) -> None:
        self.description, self.total, self.done, self.note = description, total, 0, ""

    def advance(self, steps: int = 1, note: str | None = None) -> None:
        """Add finished steps, and replace the note where there is a new one."""
        self.done += steps
        self.note = self.note if note is None else note


class _PlainBar(Bar):
    """Logs a line from time to time; nothing for a task that ends before the first line is due."""

    def __init__(self, description: str, total: int | None) -> None:
        super().__init__(description, total)
        self.next_line_at = time.monotonic() + SECONDS_BETWEEN_LINES

    def advance(self, steps: int = 1, note: str | None = None) -> None:
        super().advance(steps, note)
        if time.monotonic() >= self.next_line_at:
            self.next_line_at = time.monotonic() + SECONDS_BETWEEN_LINES
            of_total = "" if self.total is None else f" of {self.total}"
            log(f"{self.description}: {self.done}{of_total} {self.note}".rstrip())


def write_utf8() -> None:
    """Write UTF-8 to files and pipes, whatever the system's encoding, in which not every text could be written."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper) and not stream.isatty():
            stream.reconfigure(encoding="utf-8", errors=stream.errors)


def log(line: str) -> None:
    """Print a line on standard error, above the progress bar if there is one."""
    print(line, file=sys.stderr, flush=True)


@contextmanager
def progress_bar(description: str, total: int | None, show_progress: bool = True) -> Iterator[Bar]:
    """Show a progress bar. Lines that `log` prints meanwhile appear above it; a bar inside another appears below it.

    Args:
        description: the task, in a word or two.
        total: its number of steps; None if unknown.
        show_progress: False on all processes but rank 0, which stay silent.
    """
    if not show_progress:
        yield Bar(description, total)
    elif not sys.stderr.isatty():
        yield _PlainBar(description, total)
    else:
        with _display() as display:
            task = display.add_task(description, total=total, note="")

            class RichBar(Bar):
                def advance(self, steps: int = 1, note: str | None = None) -> None:
                    super().advance(steps, note)
                    display.update(task, completed=self.done, note=self.note)

            try:
                yield RichBar(description, total)
            finally:
                display.remove_task(task)


_displays: list["Progress"] = []  # at most one: nested bars share the terminal's display


@contextmanager
def _display() -> Iterator["Progress"]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    if _displays:
        yield _displays[0]
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        _displays.append(progress)
        try:
            yield progress
        finally:
            _displays.clear()


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format a table as aligned text: the first column to the left, all others to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        first, *others = (
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "  " + "  ".join([first, *others]).rstrip()

    return "\n".join(line(cells) for cells in [header, *rows])
