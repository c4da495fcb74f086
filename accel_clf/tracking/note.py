"""What is known of a run in one tracker, in the run folder."""

import json
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

from accel_clf.core.files import write_json

FOLDER = "tracking"


@dataclass
class Note:
    """A run in one tracker.

    Attributes:
        folder: of the run.
        tracker: its name.
        id: of the run, made by us before the tracker knows of it.
        tracker_id: the tracker's own, where it gives runs one.
        location: where the run is in the tracker, for people.
        store: where the tracker keeps it, where that depends on the working folder.
        settings_sent: whether the tracker has the settings.
        sent: event of metrics.jsonl -> the last step of it that was sent.
        is_waiting: whether the tracker has been asked for something, and has not answered yet.
        error: why it could not be sent lately; empty for none.
        is_complete: whether the tracker has the whole run, results included.
    """

    folder: Path
    tracker: str
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    tracker_id: str = ""
    location: str = ""
    store: str = ""
    settings_sent: bool = False
    sent: dict[str, int] = field(default_factory=dict)
    is_waiting: bool = False
    error: str = ""
    is_complete: bool = False

    @classmethod
    def read(cls, folder: Path, tracker: str) -> Self:
        """Read a run's note; a new one where there is none, or a crash of the machine has left none that is whole."""
        with suppress(OSError, ValueError, TypeError):
            return cls(folder, tracker, **json.loads(note_path(folder, tracker).read_text(encoding="utf-8")))
        return cls(folder, tracker)

    def write(self) -> None:
        """Write the note. Its time is when the tracker was last heard of."""
        content = {name: value for name, value in asdict(self).items() if name not in ("folder", "tracker")}
        write_json(note_path(self.folder, self.tracker), content)


def note_path(folder: Path, tracker: str) -> Path:
    """Return the file of a run's note."""
    return folder / FOLDER / f"{tracker}.json"


def log_path(folder: Path, tracker: str) -> Path:
    """Return the file of what a tracker's library has printed."""
    return folder / FOLDER / f"{tracker}.log"
