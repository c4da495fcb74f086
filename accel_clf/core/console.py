"""What a person sees while work goes on: a bar on a terminal, plain lines otherwise; all on standard error."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress
from collections.abc import Sequence

SECONDS_BETWEEN_LINES = 10.0


class Bar:
    """The progress of one job, counted in steps, of a number that may not be known."""

    def __init__(self, what: str, total: int | None) -> None:
        self.what, self.total, self.done, self.note = what, total, 0, ""

    def advance(self, steps: int = 1, note: str | None = None) -> None:
        self.done += steps
        self.note = self.note if note is None else note


class _PlainBar(Bar):
    """A line now and then, for logs; nothing for a job that is over before the first line is due."""

    def __init__(self, what: str, total: int | None) -> None:
        super().__init__(what, total)
        self.due = time.monotonic() + SECONDS_BETWEEN_LINES

    def advance(self, steps: int = 1, note: str | None = None) -> None:
        super().advance(steps, note)
        if time.monotonic() >= self.due:
            self.due = time.monotonic() + SECONDS_BETWEEN_LINES
            of = "" if self.total is None else f" of {self.total}"
            log(f"{self.what}: {self.done}{of} {self.note}".rstrip())


def log(line: str) -> None:
    """A line above whatever bar is there."""
    print(line, file=sys.stderr, flush=True)


@contextmanager
def progress_bar(what: str, total: int | None, show_progress: bool = True) -> Iterator[Bar]:
    """A progress bar. Lines printed by `say` meanwhile appear above it; a bar inside another appears below it.

    Args:
        what: the job, in a word or two.
        total: how many steps it has, if that is known.
        show_progress: False on every process but the first, which stay silent.
    """
    if not show_progress:
        yield Bar(what, total)
    elif not sys.stderr.isatty():
        yield _PlainBar(what, total)
    else:
        with _display() as display:
            task = display.add_task(what, total=total, note="")

            class RichBar(Bar):
                def advance(self, steps: int = 1, note: str | None = None) -> None:
                    super().advance(steps, note)
                    display.update(task, completed=self.done, note=self.note)

            try:
                yield RichBar(what, total)
            finally:
                display.remove_task(task)


_displays: list["Progress"] = []  # the terminal has one, whoever opened it


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


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns in line: the first to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        first, *others = (
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "  " + "  ".join([first, *others]).rstrip()

    return "\n".join(line(cells) for cells in [header, *rows])
