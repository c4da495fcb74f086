"""The folder of a cross-validation: whose it is, and which folds are finished."""

from collections.abc import Sequence
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


class CrossValidationLock:
    """The folders of folds that no other run may use until they are released.

    Attributes:
        states: of each fold's, see folder.RunLock.
    """

    def __init__(self, config: Config, wanted: Sequence[int]) -> None:
        self.output, self.claims = Path(config.output), []
        anew = config.resume == "never"
        if anew and is_main_process():
            _set_aside(self.output)
        if not anew or is_main_process():  # others may look while it is set aside
            _check_folder(config)
        self.states: dict[int, str] = dict.fromkeys(wanted, "new") if anew else {}
        try:
            for fold in wanted:
                claim = RunLock(fold_config(config, fold))
                self.claims.append(claim)
                self.states.setdefault(fold, claim.state)
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        for claim in self.claims:
            claim.release()
        with suppress(OSError):
            self.output.rmdir()  # in which nothing was made


def _set_aside(output: Path) -> None:
    if not output.is_dir() or not (output / layout.FOLDS).is_file():
        return
    locks = [lock_folder(inside) for inside in sorted(output.glob("fold-*")) if inside.is_dir()]
    for lock in locks:
        lock.release()
    set_aside(output)


def _check_folder(config: Config) -> None:
    """Whether the folder is a cross-validation's, and of these settings.

    Raises:
        ConfigError: it is not.
    """
    output = Path(config.output)
    if output.exists() and not output.is_dir():
        raise ConfigError(f"output {output} is a file", "a folder", "choose another --output")
    inside = [name for name in layout.contents(output) if not _is_untouched(output / name)]
    if inside and not (output / layout.FOLDS).is_file():
        raise ConfigError(
            f"output {output} holds files that are not a cross-validation's: {inside[0]}",
            "a new or empty folder, or a cross-validation's",
            "choose another --output",
        )
    written = output / "config.yaml"
    if written.is_file() and (changes := differences(load(written, {}), config)):
        raise ConfigError(
            f"output {output} holds a cross-validation with other settings: " + "; ".join(changes),
            "a folder of its own for each cross-validation",
            "undo the change, or choose another --output",
        )


def _is_untouched(path: Path) -> bool:
    """A fold's folder that was claimed, and nothing more."""
    return path.name.startswith("fold-") and path.is_dir() and not layout.contents(path)


def _unfinished(config: Config) -> list[int]:
    output = Path(config.output)
    return [n for n in range(config.folds) if not (output / layout.fold_name(n) / "metrics.json").is_file()]


def _named(folds: Sequence[int]) -> str:
    several = len(folds) > 1
    return f"fold{'s' if several else ''} {', '.join(map(str, folds))} {'are' if several else 'is'}"
