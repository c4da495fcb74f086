"""One run a folder: who holds it, and what it holds."""

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


MOMENT = 2.0  # seconds in which the processes of a job that was killed have ended


def lock_folder(folder: Path) -> FileLock:
    """A lock on a run folder, held by this process until it is released or ends.

    Raises:
        ConfigError: another holds it.
    """
    found = FileLock(folder / LOCK)
    try:
        found.acquire(timeout=MOMENT)
    except Timeout:
        raise ConfigError(
            f"output {folder} is in use by another run", "one run a folder", "wait for it, or choose another --output"
        ) from None
    return found


def set_aside(folder: Path) -> None:
    """Give a folder's contents another name."""
    aside = next(path for n in count(1) if not (path := folder.with_name(f"{folder.name}.{n}")).exists())
    folder.rename(aside)
    log(f"what {folder} held is in {aside} now (--resume never)")


class RunLock:
    """A run folder that no other run may use until it is released.

    Attributes:
        state: of the folder: "new", "unfinished" or "finished".

    Raises:
        ConfigError: another run is at work there, the folder holds something else, or a finished run with other
            settings.
    """

    def __init__(self, config: Config) -> None:
        self.folder = Path(config.output)
        self.lock: FileLock | None = None
        anew = config.resume == "never"
        if not is_main_process():  # the first one has the folder for all, and may be setting its contents aside
            self.state = "new" if anew else _state(self.folder, config)
            return
        self.state = _state(self.folder, config)
        if self.state == "finished" and not anew:  # and never changed again
            return
        self._take()
        try:
            self.state = _state(self.folder, config)  # what it is now that nobody else changes it
            if anew and self.state != "new":
                self.release()
                set_aside(self.folder)
                self._take()
                self.state = "new"
        except BaseException:
            self.release()
            raise

    def _take(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.lock = lock_folder(self.folder)

    def release(self) -> None:
        """Let others in; a folder in which nothing was made goes."""
        if self.lock:
            (self.folder / LOCK).unlink(missing_ok=True)
            self.lock.release()
            self.lock = None
            with suppress(OSError):
                self.folder.rmdir()


def _state(folder: Path, config: Config) -> str:
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"output {folder} is a file", "a folder for the run", "choose another --output")
    inside = contents(folder)
    if not inside:
        return "new"
    if not (folder / "config.yaml").is_file() or is_cross_validation(folder):
        raise ConfigError(
            f"output {folder} holds files that are not a run's: {FOLDS if FOLDS in inside else inside[0]}",
            "a new or empty folder, or a run's",
            "choose another --output",
        )
    finished = (folder / "metrics.json").is_file()
    # An unfinished run is compared with its checkpoint, where it has one.
    compared = finished or ((folder / "model").exists() and not (folder / "checkpoints").exists())
    changes = differences(load(folder / "config.yaml", {}), config) if compared else []
    if changes and config.resume != "never":
        raise ConfigError(
            f"output {folder} holds {'a finished' if finished else 'an unfinished'} run with other settings: "
            + "; ".join(changes),
            "a folder of its own for each run",
            "choose another --output",
        )
    return "finished" if finished else "unfinished"
