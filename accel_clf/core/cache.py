"""The cache folder, which keeps tokens between runs, and its locks."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock


def cache_folder() -> Path:
    """Return ACCEL_CLF_CACHE or, where that is unset, accel_clf in the user's cache folder."""
    configured = os.environ.get("ACCEL_CLF_CACHE")
    if configured:
        return Path(configured)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "accel_clf"


@contextmanager
def cache_lock(folder: Path) -> Iterator[None]:
    """Lock a folder of the cache: of several processes, the first creates it and the others wait, then reuse it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        yield
