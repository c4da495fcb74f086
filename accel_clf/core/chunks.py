"""A stream in parts."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")


def chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield the items in lists of `size`, the last of which may be shorter; none is held longer than its list."""
    remaining = iter(items)
    while chunk := list(islice(remaining, size)):
        yield chunk
