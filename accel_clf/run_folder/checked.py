"""The JSON files of a run folder, read: one that is damaged is an error that names it."""

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from accel_clf.core.errors import UserError
from accel_clf.core.files import read_json

TRAIN_AGAIN = "remove {folder} and run the same command again"
RESTORE = "restore the file, or train in another folder"


def read_object(path: Path, shape: type) -> dict[str, Any]:
    """Read a JSON file of a run folder; empty where there is none.

    Args:
        path: of the file.
        shape: what is read of it: a class of accel_clf.run_folder.shapes.

    Raises:
        UserError: it is damaged.
    """
    with explained(path, RESTORE):
        try:
            content = read_json(path)
        except FileNotFoundError:
            return {}
        try:
            _validator(shape).validate_python(content, strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
        return content


@cache
def _validator(shape: type) -> TypeAdapter[Any]:
    return TypeAdapter(shape)


def read_log(path: Path) -> list[dict[str, Any]]:
    """Read metrics.jsonl but for an incomplete last line, which is still being written; empty where there is none.

    Raises:
        UserError: it is damaged.
    """
    with explained(path, RESTORE):
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return []
    return parse_log(path, content[: content.rfind(b"\n") + 1])


def parse_log(path: Path, content: bytes) -> list[dict[str, Any]]:
    """Parse complete lines of metrics.jsonl: objects with an event, a step, and numbers.

    Args:
        path: of the file.
        content: the lines.

    Raises:
        UserError: a line is not one that training writes.
    """
    with explained(path, RESTORE):
        lines = [json.loads(line) for line in content.splitlines() if line]
        for line in lines:
            if not isinstance(line, dict) or not isinstance(line["event"], str) or not isinstance(line["step"], int):
                raise ValueError("a line is not an object with an event and a step")
            if any(not isinstance(value, int | float) for name, value in line.items() if name != "event"):
                raise ValueError(f"a value of step {line['step']} is not a number")
    return lines


@contextmanager
def explained(path: Path, fix: str = TRAIN_AGAIN) -> Iterator[None]:
    """Turn what a damaged file raises into a UserError.

    Args:
        path: of the file.
        fix: what to do about it, {folder} being its folder.
    """
    try:
        yield
    except (OSError, ValueError, LookupError, TypeError, AttributeError, csv.Error) as error:
        raise UserError(
            f"{path} cannot be read ({type(error).__name__}: {error})",
            "what training has written there",
            fix.format(folder=path.parent),
        ) from None
