"""One run per folder: the lock of a run folder, and the state of what it holds."""

from contextlib import suppress
from itertools import count
from pathlib import Path

from filelock import FileLock, Timeout

from accel_clf.config.load import load
from accel_clf.config.schema import Config
from accel_clf.core.console import log
from accel_clf.core.errors import ConfigError
from accel_clf.core.process_env import is_main_process
from accel_clf.run_folder.compat import differences
from accel_clf.run_folder.layout import FOLDS, contents, is_cross_validation

LOCK = ".lock"
LOCK_TIMEOUT = 2.0  # seconds, in which the processes of a killed job end


def lock_folder(folder: Path) -> FileLock:
    """Lock a run folder until the lock is released or this process ends.

    Raises:
        ConfigError: another process holds the lock.
    """
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=LOCK_TIMEOUT)
    except Timeout:
        raise ConfigError(
            f"output {folder} is in use by another run", "one run per folder", "wait for it, or choose another --output"
        ) from None
    return lock


def unlock_folder(lock: FileLock) -> None:
    """Release a lock of `lock_folder`, and remove its file, unless another run has it by now."""
    path = Path(lock.lock_file)
    try:
        path.unlink(missing_ok=True)  # while it is held: afterwards it might be another run's
        lock.release()
    except PermissionError:  # Windows removes no file that somebody has open: not this run's now, nor another's then
        lock.release()
        with suppress(PermissionError):
            path.unlink(missing_ok=True)


def set_aside(folder: Path) -> None:
    """Rename a folder to the first free of folder.1, folder.2 ..., and log that."""
    backup = next(path for n in count(1) if not (path := folder.with_name(f"{folder.name}.{n}")).exists())
    folder.rename(backup)
    log(f"the contents of {folder} have been moved to {backup} (--resume never)")


class RunLock:
    """A run folder that no other run may use until it is released.

    Attributes:
        state: of the folder: "new", "unfinished" or "finished".

    Raises:
        ConfigError: another run uses the folder, or it holds something else, or a run with other settings.
    """

    def __init__(self, config: Config) -> None:
        self.folder = Path(config.output)
        self.lock: FileLock | None = None
        start_over = config.resume == "never"
        if not is_main_process():  # rank 0 holds the lock for all, and may be moving the contents aside
            self.state = "new" if start_over else _state(self.folder, config)
            return
        self.state = _state(self.folder, config)
        if self.state == "finished" and not start_over:  # nobody changes it any more
            return
        self._acquire()
        try:
            self.state = _state(self.folder, config)  # again, now that nobody else can change it
            if start_over and self.state != "new":
                self.release()
                set_aside(self.folder)
                self._acquire()
                self.state = "new"
        except BaseException:
            self.release()
            raise

    def _acquire(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.lock = lock_folder(self.folder)

    def release(self) -> None:
        """Release the folder, and remove it if it is empty."""
        if self.lock:
            unlock_folder(self.lock)
            self.lock = None
            with suppress(OSError):
                self.folder.rmdir()


def _state(folder: Path, config: Config) -> str:
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"output {folder} is a file", "a folder for the run", "choose another --output")
    names = contents(folder)
    if not names:
        return "new"
    if not (folder / "config.yaml").is_file() or is_cross_validation(folder):
        raise ConfigError(
            f"output {folder} holds files that are not a run's: {FOLDS if FOLDS in names else names[0]}",
            "a new or empty folder, or a run's",
            "choose another --output",
        )
    is_finished = (folder / "metrics.json").is_file()
    # The settings of an unfinished run are compared with those in its checkpoint, if it has one.
    compare_here = is_finished or ((folder / "model").exists() and not (folder / "checkpoints").exists())
    changes = differences(load(folder / "config.yaml", {}), config) if compare_here else []
    if changes and config.resume != "never":
        raise ConfigError(
            f"output {folder} holds {'a finished' if is_finished else 'an unfinished'} run with other settings: "
            + "; ".join(changes),
            "a separate folder for each run",
            "choose another --output",
        )
    return "finished" if is_finished else "unfinished"
