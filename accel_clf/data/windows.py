"""Long texts in windows: a row's tokens are those of its windows, one after another.

Every window but the last is `max_length` tokens long, special tokens included, so that a row's length says where they
are, and a text that fits is the row it would be without windows.
"""

from collections.abc import Sequence

import numpy as np

from accel_clf.config.schema import DataConfig
from accel_clf.core.errors import ConfigError


def kept_windows(count: int, most: int) -> list[int]:
    """Return which of a text's windows are read: at most `most`, from both ends inwards, in order."""
    if count <= most:
        return list(range(count))
    return [*range((most + 1) // 2), *range(count - most // 2, count)]


def check_stride(stride: int, max_length: int, special_tokens: int) -> None:
    """Check that each window has tokens that the one before has not.

    Args:
        stride: tokens that a window shares with the next.
        max_length: tokens of a window.
        special_tokens: in each window.

    Raises:
        ConfigError: it has none.
    """
    room = max_length - special_tokens
    if stride >= room:
        raise ConfigError(
            f"data.windows.stride is {stride}, and a window of {max_length} tokens has room for {room} of the text",
            "windows that share less than they hold",
            f"--data.windows.stride {room // 4}",
        )


def window_count(lengths: np.ndarray, max_length: int) -> np.ndarray:
    """Return how many windows rows have.

    Args:
        lengths: int [rows], in tokens of all their windows.
        max_length: tokens of a window.
    """
    counts: np.ndarray = np.maximum(1, -(-lengths // max_length))
    return counts


def split_windows(
    rows: Sequence[np.ndarray], max_length: int, by_length: bool = False
) -> tuple[list[np.ndarray], np.ndarray | None]:
    """Divide rows into their windows.

    Args:
        rows: token ids, int [length] each.
        max_length: tokens of a window.
        by_length: whether to put the shortest first, for which packed batches are faster.

    Returns:
        The windows' token ids, and members, bool [rows, windows], which row each is of; None where all rows have one,
        which then is the row.
    """
    if all(len(row) <= max_length for row in rows):
        return list(rows), None
    windows = [
        (number, row[start : start + max_length])
        for number, row in enumerate(rows)
        for start in range(0, len(row), max_length)
    ]
    if by_length:
        windows.sort(key=lambda window: len(window[1]))
    of_row = np.array([number for number, _ in windows])
    return [ids for _, ids in windows], of_row == np.arange(len(rows))[:, None]


def is_cut(lengths: np.ndarray, data: DataConfig) -> np.ndarray:
    """Find the rows that may have more text than is read: bool [rows].

    Args:
        lengths: int [rows], in tokens.
        data: the settings.
    """
    if data.windows.stride is None:
        return np.asarray(lengths == data.max_length)
    return np.asarray(window_count(lengths, data.max_length) == data.windows.most)


def describe_cut(lengths: np.ndarray, data: DataConfig, rows: str) -> str | None:
    """Say how many rows may have more text than is read; None if no row reaches the limit.

    Args:
        lengths: int [rows], in tokens.
        data: the settings.
        rows: what the rows are called.
    """
    length, most = data.max_length, data.windows.most
    cut = int(is_cut(lengths, data).sum())
    if data.windows.stride is None:
        message = f"reach {length} tokens, where they are cut (data.max_length)"
    else:
        message = (
            f"have {most} windows of {length} tokens, or more, of which those in the middle are left out "
            "(data.windows.most)"
        )
    return f"{cut} of {len(lengths)} {rows} {message}" if cut else None
