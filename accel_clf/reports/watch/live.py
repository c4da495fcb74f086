"""Show a run or a cross-validation while it trains, from what its folder says."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.live import Live

from accel_clf.core.errors import UserError
from accel_clf.reports.watch.pictures import duration, evaluation_line, picture
from accel_clf.reports.watch.progress import CrossValidationProgress, RunProgress, open_progress
from accel_clf.run_folder.layout import check_folder

REFRESH_SECONDS = 1.0
RESTART_SECONDS = 30.0  # in which a launcher would have started a run again whose process has ended


def watch(folder: Path, once: bool = False) -> None:
    """Show a run until it ends: a picture that changes, on a terminal; otherwise a line for each evaluation.

    Args:
        folder: of the run or the cross-validation.
        once: whether to show one picture, and to return.

    Raises:
        ConfigError: there is no such folder, or it has something else in it.
        UserError: a file of the run is damaged, or its process has ended before it was finished.
    """
    check_folder(folder, may_begin=True)
    console = Console()
    if once:
        progress = open_progress(folder)
        progress.update()
        console.print(picture(progress, console.width))
    elif console.is_terminal:
        with Live(console=console, auto_refresh=False, vertical_overflow="crop") as live:
            for progress in _updates(folder):
                live.update(picture(progress, console.width, console.height), refresh=True)
    else:
        _print_lines(folder)


def _updates(folder: Path) -> Iterator[RunProgress | CrossValidationProgress]:
    """Yield a run each time that it was looked at, until it is finished.

    Raises:
        UserError: its process has ended before that.
    """
    progress, ended_at = open_progress(folder), None
    while True:
        if isinstance(progress, RunProgress) and not progress.environment:
            progress = open_progress(folder)  # what is begun in an empty folder may be either
        progress.update()
        yield progress
        if progress.is_finished:
            return
        run = progress if isinstance(progress, RunProgress) else progress.latest()
        now = time.monotonic()
        ended_at = (ended_at or now) if run and run.is_running() is False else None
        if run and ended_at and now > ended_at + RESTART_SECONDS:
            raise UserError(
                f"{run.folder}: its process ended after step {run.step}"
                + (f" of {run.total_steps}" if run.total_steps else ""),
                "a run in progress",
                "the command that started it resumes it",
            )
        time.sleep(REFRESH_SECONDS)


def _print_lines(folder: Path) -> None:
    """Print a line for each evaluation, and for what is finished."""
    printed: dict[Path, int] = {}
    finished: set[Path] = set()
    for progress in _updates(folder):
        if isinstance(progress, RunProgress):
            runs = [("", progress)]
        else:
            runs = [(f"fold {number}: ", run) for number, run in progress.folds]
        for title, run in runs:
            count = printed.get(run.folder, 0)
            for evaluation in run.evaluations[count:]:
                print(title + evaluation_line(run, evaluation), flush=True)
            printed[run.folder] = max(count, len(run.evaluations))
            if run.is_finished and run.folder not in finished:
                finished.add(run.folder)
                seconds = run.results.get("training", {}).get("seconds")
                print(f"{title}finished" + (f": trained for {duration(seconds)}" if seconds else ""), flush=True)
    if isinstance(progress, CrossValidationProgress):
        print("finished", file=sys.stdout, flush=True)
