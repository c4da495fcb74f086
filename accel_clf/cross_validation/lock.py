"""The folder of a cross-validation: whose it is, and which folds are finished."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from accel_clf.config.load import load
from accel_clf.config.schema import Config
from accel_clf.core.errors import ConfigError
from accel_clf.core.process_env import is_main_process
from accel_clf.cross_validation.folds import fold_config
from accel_clf.run_folder import layout
from accel_clf.run_folder.compat import differences
from accel_clf.run_folder.lock import RunLock, lock_folder, set_aside

_OF_FOLDS: dict[str, Callable[[Config], int | str | None]] = {
    "folds": lambda config: config.folds,
    "data.fold": lambda config: config.data.fold,
}


class CrossValidationLock:
    """Locks the folders of some folds until they are released.

    Args:
        config: the settings.
        folds: which.

    Attributes:
        states: fold -> state of its folder, see run_folder.lock.RunLock.

    Raises:
        ConfigError: a folder is in use, or holds something else.
    """

    def __init__(self, config: Config, folds: Sequence[int]) -> None:
        self.output, self.locks = Path(config.output), []
        from_scratch = config.resume == "never"
        if from_scratch and is_main_process():
            _set_aside(self.output)
        if not from_scratch or is_main_process():  # other processes may look while it is being set aside
            check_folder(config)
        self.states: dict[int, str] = dict.fromkeys(folds, "new") if from_scratch else {}
        try:
            for fold in folds:
                lock = RunLock(fold_config(config, fold))
                self.locks.append(lock)
                self.states.setdefault(fold, lock.state)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Release the folders; one in which nothing was written is removed."""
        for lock in self.locks:
            lock.release()
        with suppress(OSError):
            self.output.rmdir()  # fails unless it is empty


def check_folder(config: Config) -> None:
    """Check that the folder is empty or a cross-validation's with these settings.

    Raises:
        ConfigError: it is not.
    """
    output = Path(config.output)
    if output.exists() and not output.is_dir():
        raise ConfigError(f"output {output} is a file", "a folder", "choose another --output")
    names = [name for name in layout.contents(output) if not _is_empty_fold(output / name)]
    if names and not (output / layout.FOLDS).is_file():
        raise ConfigError(
            f"output {output} holds files that are not a cross-validation's: {names[0]}",
            "a new or empty folder, or a cross-validation's",
            "choose another --output",
        )
    written = output / "config.yaml"
    if written.is_file() and (changes := _differences(load(written, {}), config)):
        raise ConfigError(
            f"output {output} holds a cross-validation with other settings: " + "; ".join(changes),
            "a folder of its own for each cross-validation",
            "undo the change, or choose another --output",
        )


def _differences(before: Config, after: Config) -> list[str]:
    """Describe how settings differ, those of folds included, which are no matter to a run."""
    folds = {name: (read(before), read(after)) for name, read in _OF_FOLDS.items()}
    return differences(before, after) + [f"{name} {old} -> {new}" for name, (old, new) in folds.items() if old != new]


def unfinished_folds(config: Config) -> list[int]:
    """List the folds that have no results."""
    output = Path(config.output)
    return [fold for fold in range(config.folds) if not (output / layout.fold_name(fold) / "metrics.json").is_file()]


def folds_are(folds: Sequence[int]) -> str:
    """Write folds as the subject of a sentence: "fold 1 is", "folds 1, 2 are"."""
    is_plural = len(folds) > 1
    return f"fold{'s' if is_plural else ''} {', '.join(map(str, folds))} {'are' if is_plural else 'is'}"


def _set_aside(output: Path) -> None:
    if not output.is_dir() or not (output / layout.FOLDS).is_file():
        return
    locks = [lock_folder(path) for path in sorted(output.glob("fold-*")) if path.is_dir()]
    for lock in locks:
        lock.release()
    set_aside(output)


def _is_empty_fold(path: Path) -> bool:
    """Whether a folder is a fold's that was locked, and nothing more."""
    return path.name.startswith("fold-") and path.is_dir() and not layout.contents(path)
