"""The process beside training: what a run's folder says is sent to one tracker.

python -m accel_clf.tracking.follower

It reads its job from standard input, as `followers` has written it, and then the line that says that training is over.
Standard input that ends without that line is that of a process that was killed; this one ends at once, too.
"""

import json
import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from accel_clf.core.signals import exit_when_parent_dies
from accel_clf.tracking.content import FILES, Line, LogReader, read_results, read_settings
from accel_clf.tracking.note import FOLDER, Note, log_path

if TYPE_CHECKING:
    from accel_clf.tracking.backend import Backend

NICENESS = 10  # training goes first
POLL_SECONDS = 1.0
RETRY_SECONDS = (5.0, 15.0, 60.0, 300.0)  # after failures, the last one for all that come


class Follower:
    """Sends runs to a tracker, one after another.

    Args:
        tracker: its name.
        project: of the runs.
    """

    def __init__(self, tracker: str, project: str) -> None:
        self.tracker, self.project = tracker, project
        self.is_over = threading.Event()  # whether training is

    def follow(self, folder: Path, name: str, group: str | None, is_last: bool) -> None:
        """Send a run, from where the tracker has it to its results, or to where training has ended.

        Args:
            folder: of the run.
            name, group: of the run in the tracker.
            is_last: whether its results may still change once they are there, until training is over.
        """
        while not (folder / "config.yaml").is_file():
            if self.is_over.wait(POLL_SECONDS):
                return
        (folder / FOLDER).mkdir(exist_ok=True)
        _print_to(log_path(folder, self.tracker))
        # Of a process that was killed a moment ago, the follower may still be there.
        with FileLock(folder / FOLDER / f".{self.tracker}.lock"):
            note, failures = Note.read(folder, self.tracker), 0
            while not note.is_complete:
                is_last_try = self.is_over.is_set()
                try:
                    self._send(note, name, group, is_last)
                    return
                except Exception as error:  # of a library that may raise anything
                    print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
                    note.error, note.is_waiting = _first_line(error), False
                    note.write()
                    if is_last_try:
                        return
                    self.is_over.wait(RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)])
                    failures += 1

    def _send(self, note: Note, name: str, group: str | None, is_last: bool) -> None:
        from accel_clf.tracking.backends import BACKENDS  # imports Accelerate, and torch

        backend = BACKENDS[self.tracker](note, self.project, name, group)
        try:
            self._send_by(backend, is_last)
        except Exception:
            with suppress(Exception):
                backend.finish(is_complete=False)  # so that it can be taken up again
            raise

    def _send_by(self, backend: "Backend", is_last: bool) -> None:
        note, folder = backend.note, backend.note.folder
        note.is_waiting = True
        note.write()
        backend.start(read_settings(folder))
        log, is_over = LogReader(folder), False
        while not is_over:
            # Looked at before the log is read, so that no line after the last reading is missed.
            is_over = self.is_over.is_set() or (not is_last and (folder / "metrics.json").is_file())
            lines = log.new_lines()
            if lines and not note.is_waiting:
                note.is_waiting = True
                note.write()
            note_time = time.monotonic()
            for line in lines:
                backend.log(line)
                note.sent[line.event] = max(line.step, note.sent.get(line.event, 0))
                if time.monotonic() > note_time + POLL_SECONDS:  # it answers, though slowly
                    note.write()
                    note_time = time.monotonic()
            if note.is_waiting or note.error:
                note.is_waiting, note.error = False, ""
                note.write()
            if not is_over:
                self.is_over.wait(POLL_SECONDS)
        note.is_waiting = True
        note.write()
        is_complete = (folder / "metrics.json").is_file()
        if is_complete:
            _send_results(backend, folder, max(note.sent.values(), default=0))
        backend.finish(is_complete)
        note.is_complete, note.is_waiting = is_complete, False
        note.write()


def _send_results(backend: "Backend", folder: Path, step: int) -> None:
    values, tables = read_results(folder)
    backend.log(Line("final", step, values))
    for table in tables:
        backend.send_table(table, step)
    backend.send_files([path for name in FILES if (path := folder / name).is_file()])


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0][:200]}"


def _print_to(path: Path) -> None:
    """Let whatever a tracker's library prints go to a file."""
    with path.open("a", encoding="utf-8") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)


def main() -> None:
    """Follow the runs of the job that standard input has."""
    job = json.loads(sys.stdin.readline())
    exit_when_parent_dies(os.getppid())
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    follower = Follower(job["tracker"], job["project"])

    def listen() -> None:
        if not sys.stdin.readline():
            os._exit(1)
        follower.is_over.set()

    threading.Thread(target=listen, daemon=True, name="listen").start()
    runs = job["runs"]
    for number, run in enumerate(runs, start=1):
        follower.follow(Path(run["folder"]), run["name"], run["group"], is_last=number == len(runs))


if __name__ == "__main__":
    main()
