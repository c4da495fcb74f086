"""Where a run's rows came from, of each split by itself."""

import re
from dataclasses import dataclass
from pathlib import Path

from accel_clf.config.schema import DataConfig
from accel_clf.data.readers.files import suffix_of
from accel_clf.data.splits import has_splits, is_split

HUB_ID = re.compile(r"(?:[\w-]+/)?[\w.-]+", re.ASCII)  # the Hub's own pattern, in metadata
_WITH_SOURCE = ("validation", "test", "calibration")  # splits that may be no part of the training rows


def hub_id(name: str) -> str | None:
    """Return the name of a model or a data set if it is an id on the Hub; None for what is, or was, on a disk here."""
    path = Path(name)
    is_local = name == "demo" or path.exists() or bool(suffix_of(path))
    return name if HUB_ID.fullmatch(name) and not is_local and not name.startswith(".") else None


def shared_name(name: str) -> str:
    """Return the name of a model or a data set without the folders of this machine that it may lie in."""
    return hub_id(name) or name.replace("\\", "/").rstrip("/").rpartition("/")[2]


@dataclass(frozen=True)
class Source:
    """What rows were read from.

    Attributes:
        name: of the file, the folder or the data set, without the folders that it is in here.
        hub: its id on the Hub; None where it is not there.
        split: of the data set, by its own name; None where there is none, or it is not known.
    """

    name: str
    hub: str | None
    split: str | None

    @property
    def kind(self) -> str:
        """What the Hub's metadata call the kind of data set: its id, or the format of a file."""
        return self.hub or suffix_of(Path(self.name)).lstrip(".") or "text"


def source_of(data: DataConfig, split: str = "train", dataset: str | None = None) -> Source:
    """Find out what the rows of a split were read from.

    Args:
        data: the run's settings.
        split: the setting's name; others, such as "held_out", are parts of the training rows.
        dataset: the id on the Hub of what the training rows were read from, where its author says so.
    """
    place = getattr(data, split) if split in _WITH_SOURCE else None
    if isinstance(place, str) and not is_split(place, data):
        return Source(shared_name(place), hub_id(place), None)
    split_name = (place if isinstance(place, str) else data.split) if has_splits(data) else None
    return Source(shared_name(data.train), dataset or hub_id(data.train), split_name)
