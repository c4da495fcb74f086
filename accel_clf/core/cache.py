"""Where tokens and compiled graphs are kept between runs, and who may write there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock


def cache_folder() -> Path:
    """ACCEL_CLF_CACHE, or accel_clf in the user's cache folder."""
    own = os.environ.get("ACCEL_CLF_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "accel_clf"


@contextmanager
def cache_lock(folder: Path) -> Iterator[None]:
    """Of all processes that want this folder of the cache, one at a time: the first makes it, the others find it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        yield
