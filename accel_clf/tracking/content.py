"""What trackers are told of a run: settings, lines of metrics.jsonl, results. Never a text.

All of it by names that every tracker takes: train/loss, validation/accuracy, final/test/accuracy.
"""

import json
import os
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from accel_clf.core.files import read_json
from accel_clf.run_folder.checked import parse_log

GRID_LABELS = 30  # of more, a table of confusions lists those that there are
PARTS = {"confusion", "per_class", "slices", "each"}  # of metrics, that the file of results has for whoever wants them
PART_LENGTH = 60  # of a name; MLflow takes 250 in all
FILES = ("metrics.json", "report.html")  # that are sent as they are, where there are any


class Line(NamedTuple):
    """A line of metrics.jsonl.

    Attributes:
        event: "train" or "validation".
        step: optimizer steps taken.
        values: name -> value.
    """

    event: str
    step: int
    values: dict[str, float]


class Table(NamedTuple):
    """A table of results."""

    name: str
    columns: list[str]
    rows: list[list[str | int]]


class LogReader:
    """Reads a run's metrics.jsonl while it grows.

    Args:
        folder: of the run.

    Attributes:
        starts_over: whether the last lines were read from the file's start.
    """

    def __init__(self, folder: Path) -> None:
        self.path, self._inode, self._position, self.starts_over = folder / "metrics.jsonl", 0, 0, True

    def new_lines(self) -> list[Line]:
        """Return the lines since the last call that are complete; all, where a resumed run has replaced the file.

        Raises:
            UserError: one of them is not what training writes.
        """
        try:
            with self.path.open("rb") as file:
                status = os.fstat(file.fileno())
                if status.st_ino != self._inode or status.st_size < self._position:
                    self._inode, self._position = status.st_ino, 0
                self.starts_over = self._position == 0
                file.seek(self._position)
                complete = file.read().rpartition(b"\n")
        except FileNotFoundError:
            return []
        self._position += len(complete[0]) + len(complete[1])
        return [_parse(line) for line in parse_log(self.path, complete[0])]


def _parse(content: Mapping[str, Any]) -> Line:
    event = content["event"]
    values = {metric_name(event, key): value for key, value in content.items() if key not in ("event", "step")}
    return Line(event, content["step"], values)


def metric_name(*parts: str) -> str:
    """Join parts of a metric's name by slashes.

    Labels may be anything. What MLflow, the strictest, refuses is replaced, and a digest keeps apart what then would be
    the same name.
    """
    return "/".join(map(_accepted, parts))


def _accepted(part: str) -> str:
    accepted = re.sub(r"[^\w.\- :]", "_", part)[:PART_LENGTH]
    # MLflow takes a name for a path, in which "." and nothing at all would lead elsewhere.
    return part if accepted == part and part.strip(".") else f"{accepted}-{zlib.crc32(part.encode()):08x}"


def read_settings(folder: Path) -> dict[str, Any]:
    """Read a run's settings, as dotted name -> value."""

    def flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
        for name, value in content.items():
            if isinstance(value, Mapping):
                yield from flat(value, f"{prefix}{name}.")
            else:
                yield prefix + name, value if isinstance(value, str | int | float) else json.dumps(value)

    return dict(flat(yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))))


def read_results(folder: Path) -> tuple[dict[str, float], list[Table]]:
    """Read the metrics and the tables of confusions in a run's or a cross-validation's metrics.json."""
    content = read_json(folder / "metrics.json")

    def flat(part: Mapping[str, Any], *names: str) -> Iterator[tuple[str, float]]:
        for name, value in part.items():
            if isinstance(value, Mapping) and name not in PARTS:
                yield from flat(value, *names, name)
            elif isinstance(value, int | float) and not isinstance(value, bool):
                yield metric_name(*names, name), value

    tables = [
        _confusion(metric_name("final", *names, "confusion"), list(part["per_class"]), part["confusion"])
        for names, part in _parts(content)
        if "confusion" in part and "per_class" in part
    ]
    return dict(flat(content, "final")), tables


def _parts(content: Mapping[str, Any], *names: str) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    """Iterate over the metrics of sets of rows, by their names from the outside in."""
    for name, part in content.items():
        if isinstance(part, Mapping) and name not in PARTS:
            yield (*names, name), part
            yield from _parts(part, *names, name)


def _confusion(name: str, labels: Sequence[str], confusion: list[list[int]] | Mapping[str, Any]) -> Table:
    """Make a table of a confusion matrix, in either of its forms; see targets.metrics.Confusion."""
    if isinstance(confusion, list) and len(labels) <= GRID_LABELS:
        rows: list[list[str | int]] = [[label, *counts] for label, counts in zip(labels, confusion, strict=True)]
        return Table(name, ["label \\ predicted", *labels], rows)
    entries = (
        [(row, column, count) for row, counts in enumerate(confusion) for column, count in enumerate(counts)]
        if isinstance(confusion, list)
        else confusion["entries"]
    )
    return Table(
        name,
        ["label", "predicted", "rows"],
        [[labels[row], labels[column], count] for row, column, count in entries if count],
    )
