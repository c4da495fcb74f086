"""JSON Lines, and a JSON array of objects, read one by one; exports of annotation tools are such files."""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, NoReturn

from accel_clf.core.errors import DataError
from accel_clf.data.readers.containers import open_text
from accel_clf.data.readers.records import Record, Request, names_in, refuse_nul, require_columns, value_at

BLOCK = 1 << 16  # characters that are read at a time
# A value that the end of a block cuts is an error that close to it: \uXXXX, -Infinity.
CUT = 16
UNFINISHED = ("discarded", "draft")  # the status of answers in Argilla


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    parsed = dict(pairs)
    if len(parsed) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {next(key for key in keys if keys.count(key) > 1)!r} appears twice")
    return parsed


def _finite(digits: str) -> float:
    if math.isinf(number := float(digits)):
        raise ValueError(f"{digits[:20]} is too large for a number")
    return number


_DECODER = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_unique_keys)


def parse_json(text: str) -> Any:
    """Parse JSON exactly as its standard says.

    Raises:
        ValueError: anything else, such as NaN, duplicate keys, infinite numbers or too deep nesting.
    """
    try:
        return _DECODER.decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def starts_array(request: Request) -> bool:
    """Return whether a file's first character that is not blank opens an array."""
    with open_text(request.path, request.data.encoding) as file:
        while block := file.read(BLOCK):
            if start := block.lstrip():
                return start[0] == "["
    return False


def line_records(request: Request) -> Iterator[Record]:
    """Read the objects of a file with one in each line.

    Raises:
        DataError: a line is not an object, or lacks a column.
    """
    pick = _picker(request)
    with open_text(request.path, request.data.encoding) as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            location = f"line {number}"
            try:
                parsed = parse_json(line)
            except ValueError as error:
                array = line.lstrip().startswith("[") and number == 1
                fix = "a file that is one array ends in .json" if array and request.kind != ".json" else ""
                expected = "one object per line, or an array of objects" if fix or request.kind == ".json" else ""
                raise DataError(
                    f"{request.path}, {location}: not JSON ({error})", expected or "one object per line", fix
                ) from None
            values = pick(parsed, location)
            if values is not None:
                yield number, values


def array_records(request: Request) -> Iterator[Record]:
    """Read the objects of a file that is an array of them.

    Raises:
        DataError: the file is not such an array, or an object lacks a column.
    """
    pick = _picker(request)
    for number, (parsed, line) in enumerate(_items(request), start=1):
        values = pick(parsed, f"row {number} (line {line})")
        if values is not None:
            yield number, values


def line_names(request: Request) -> tuple[str, ...]:
    """Return the keys of all objects of a file with one in each line, see `line_records`."""
    return _keys(line_records(replace(request, columns=(), kept=())))


def array_names(request: Request) -> tuple[str, ...]:
    """Return the keys of all objects of an array, see `array_records`."""
    return _keys(array_records(replace(request, columns=(), kept=())))


def _keys(records: Iterator[Record]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for _, (row,) in records for name in row))


def _items(request: Request) -> Iterator[tuple[Any, int]]:
    """Iterate over the items of an array, and the lines where they start. Holds one item, and a block of the file."""
    with open_text(request.path, request.data.encoding) as file:
        text, position, line = file.read(BLOCK), 0, 1

        def next_character() -> str:
            """Skip blanks, and read on where the text ends; "" at the end of the file."""
            nonlocal text, position, line
            while True:
                start = position
                while position < len(text) and text[position] in " \t\r\n":
                    position += 1
                line += text.count("\n", start, position)
                if position < len(text):
                    return text[position]
                text, position = file.read(BLOCK), 0
                if not text:
                    return ""

        def refuse(problem: str) -> DataError:
            return DataError(
                f"{request.path}, line {line}: not JSON ({problem})", "an array of objects: [{...}, {...}]"
            )

        next_character()
        position += 1  # over the bracket, see starts_array
        if next_character() == "]":
            position += 1
        else:
            while True:
                if next_character() == "":
                    raise refuse("the array does not end")
                size = BLOCK
                while True:
                    try:
                        item, end = _DECODER.raw_decode(text, position)
                        break
                    except RecursionError:
                        raise refuse("nested too deeply") from None
                    except ValueError as error:
                        cut = isinstance(error, json.JSONDecodeError) and (
                            error.msg.startswith("Unterminated string") or error.pos > len(text) - CUT
                        )
                        more = file.read(size) if cut else ""
                        if not more:
                            raise refuse(_without_place(error)) from None
                        text, position, size = text[position:] + more, 0, 2 * size
                yield item, line
                line += text.count("\n", position, end)
                position = end
                following = next_character()
                position += 1
                if following == "]":
                    break
                if following != ",":
                    raise refuse("a comma or the array's end is missing" if following else "the array does not end")
        if next_character():
            raise refuse("something follows the array")


def _without_place(error: ValueError) -> str:
    """Return what is wrong, without the position in a block."""
    return error.msg if isinstance(error, json.JSONDecodeError) else str(error)


def _picker(request: Request) -> Callable[[Any, str], tuple[Any, ...] | None]:
    """Make the function that takes the requested values from an object; None for one that is left out."""
    path, columns, is_labelled = request.path, tuple(request.columns), request.is_labelled

    def pick(parsed: Any, location: str) -> tuple[Any, ...] | None:
        if not isinstance(parsed, dict):
            raise DataError(f"{path}, {location}: {type(parsed).__name__}", "an object: {...}")
        if is_labelled and is_left_out(parsed, request.remarks):
            return None
        try:
            values = tuple([parsed[column] if column in parsed else value_at(parsed, column) for column in columns])
        except KeyError:
            names = [*parsed, *(name for name in names_in(parsed) if name not in parsed)]
            missing = [column for column in columns if not _has(parsed, column)]
            require_columns(path, names, missing, f", {location}")
            raise
        for column, value in zip(columns, values, strict=True):
            if isinstance(value, str) and "\0" in value:
                raise refuse_nul(path, location, column)
        if request.kept is None:
            return values
        inner = {column: value for column, value in zip(columns, values, strict=True) if column not in parsed}
        return (*values, {**parsed, **inner} if inner else parsed)

    return pick


def _has(parsed: Mapping[str, Any], column: str) -> bool:
    try:
        value_at(parsed, column)
    except KeyError:
        return False
    return True


def is_left_out(parsed: dict[str, Any], remarks: Counter[str]) -> bool:
    """Return whether a row of an annotation tool's export has no label that counts; forget annotations that do not.

    Prodigy keeps what was rejected or ignored, Label Studio what was skipped, Argilla what was discarded.

    Args:
        parsed: the row, from which those annotations are removed.
        remarks: counts both.
    """
    if "_task_hash" in parsed and parsed.get("answer", "accept") != "accept":
        remarks[f"rows with answer {parsed['answer']!r} left out"] += 1
        return True
    for key in ("annotations", "responses"):
        answers = parsed.get(key)
        if isinstance(answers, list) and answers and all(isinstance(answer, dict) for answer in answers):
            parsed[key] = [a for a in answers if not a.get("was_cancelled") and a.get("status") not in UNFINISHED]
            if dropped := len(answers) - len(parsed[key]):
                remarks[f"{key} left out that were skipped, discarded or drafts"] += dropped
                return not parsed[key]
    return False
