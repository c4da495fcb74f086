"""A run folder's lock is one process's at a time, and leaves no file behind."""

import os
import time
from functools import partial
from pathlib import Path

import pytest
from filelock import FileLock

from accel_clf import run_folder
from accel_clf.core.errors import ConfigError
from accel_clf.run_folder.lock import LOCK, lock_folder, unlock_folder
from tests.forked import Forked

SECONDS = 2.0


def lock_repeatedly(folder: Path, name: str) -> int:
    """Lock and unlock a folder over and over; the exit code says whether anybody else held it meanwhile."""
    turns, deadline = 0, time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        try:
            lock = lock_folder(folder)
        except ConfigError:  # the others were faster for two seconds
            continue
        os.close(os.open(folder / "holder", os.O_CREAT | os.O_EXCL))
        turns += 1
        (folder / "holder").unlink()
        unlock_folder(lock)
    (folder / name).write_text(str(turns))
    return 0


def test_lock_is_one_process_at_a_time(tmp_path: Path) -> None:
    """Its file is removed while others try to open it: none of them may lock a file that has no name any more."""
    folder = tmp_path / "run"
    folder.mkdir()
    processes = [
        Forked(partial(lock_repeatedly, folder, name), tmp_path / name, tmp_path / f"{name}.errors") for name in "abc"
    ]
    assert [process.wait(60) for process in processes] == [0, 0, 0], (tmp_path / "a.errors").read_text()
    assert sum(int((folder / name).read_text()) for name in "abc") > 10
    assert sorted(path.name for path in folder.iterdir()) == ["a", "b", "c"]


def refuse_to_remove_open_files(monkeypatch: pytest.MonkeyPatch, holders: list[FileLock]) -> None:
    """Make this system refuse to remove a lock's file that somebody has open, as Windows does."""
    unlink = Path.unlink

    def unlink_unless_open(path: Path, missing_ok: bool = False) -> None:
        if any(holder.is_locked and Path(holder.lock_file) == path for holder in holders):
            raise PermissionError(13, "The process cannot access the file because it is being used by another process")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink_unless_open)


def test_unlocks_where_open_files_cannot_be_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = lock_folder(tmp_path)
    refuse_to_remove_open_files(monkeypatch, [lock])
    unlock_folder(lock)
    assert not lock.is_locked
    assert list(tmp_path.iterdir()) == []


def test_lock_that_another_run_has_by_now_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock, other = lock_folder(tmp_path), FileLock(tmp_path / LOCK)
    refuse_to_remove_open_files(monkeypatch, [lock, other])
    release = lock.release

    def release_to_another() -> None:
        release()
        other.acquire()

    monkeypatch.setattr(lock, "release", release_to_another)
    unlock_folder(lock)
    assert other.is_locked
    monkeypatch.setattr(run_folder.lock, "LOCK_TIMEOUT", 0.1)
    with pytest.raises(ConfigError, match="is in use by another run"):
        lock_folder(tmp_path)
