"""A run in a tracker: how it is found again, and what the tracker has of it already."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.tracking import LOGGER_TYPE_TO_CLASS

from accel_clf.tracking.content import Line, Table
from accel_clf.tracking.note import Note

Logged = dict[str, set[int]]  # name of a metric -> steps


class Backend:
    """A run in a tracker.

    Args:
        note: the run's; `start` adds where the run is.
        project, name: of the run.
        group: that it belongs to.
    """

    def __init__(self, note: Note, project: str, name: str, group: str | None) -> None:
        self.note, self.project, self.name, self.group = note, project, name, group
        self.tracker: Any = None
        self._logged: Logged | None = None

    def options(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return what Accelerate passes on to the tracker's library."""
        return {}

    def start(self, settings: Mapping[str, Any]) -> None:
        """Create the run, or take it up; send the settings, once."""
        tracker_class, options = LOGGER_TYPE_TO_CLASS[self.note.tracker], self.options(settings)
        folder = [str(self.note.folder)] if tracker_class.requires_logging_directory else []
        PartialState(cpu=True)  # that this process is the only one; Accelerate's loggers ask
        self.tracker = tracker_class(self.project, *folder, **options)
        self.tracker.start()
        self.note.location, self.note.tracker_id = self.location(), self.tracker_id()
        self.note.write()
        self._logged = self.logged()
        if not self.note.settings_sent:
            self.send_settings(settings)
            self.note.settings_sent = True

    def location(self) -> str:
        """Say where the run is."""
        return f"project {self.project}, run {self.name}"

    def tracker_id(self) -> str:
        """Return the id that the tracker has given the run."""
        return ""

    def logged(self) -> Logged | None:
        """Return what the tracker has; None where it cannot be asked."""
        return None

    def send_settings(self, settings: Mapping[str, Any]) -> None:
        """Send the settings."""
        self.tracker.store_init_configuration(dict(settings))

    def log(self, line: Line) -> None:
        """Send what the tracker has not got yet of a line."""
        event, step, values = line
        if self._logged is not None:
            values = {name: value for name, value in values.items() if step not in self._logged.get(name, ())}
            for name in values:
                self._logged.setdefault(name, set()).add(step)
        elif step <= self.note.sent.get(event, -1):
            values = {}
        if values:
            self.tracker.log(values, step=step)

    def send_table(self, table: Table, step: int) -> None:
        """Send a table, where the tracker has tables."""

    def send_files(self, paths: Sequence[Path]) -> None:
        """Send files, where the tracker keeps files."""

    def finish(self, is_complete: bool) -> None:
        """Send what is in flight, and leave the run.

        Args:
            is_complete: whether nothing more will come.
        """
        self.tracker.finish()
