"""Going on from a checkpoint: which one, and whether it is of the same run."""

from collections.abc import Sequence
from pathlib import Path

from accel_clf.config.schema import Config
from accel_clf.core.console import log
from accel_clf.core.errors import ConfigError
from accel_clf.core.process_env import is_main_process
from accel_clf.run_folder.compat import differences
from accel_clf.training import checkpoint
from accel_clf.training.checkpoint import Checkpoint
from accel_clf.training.optim import scaled_lr
from accel_clf.training.prepare import PreparedRun


def checkpoints(config: Config) -> Path:
    """Where a run keeps them."""
    return Path(config.output) / "checkpoints"


def find_checkpoint(config: Config, state: str) -> Checkpoint | None:
    """The checkpoint to go on from; None for the beginning.

    Args:
        config: the settings; `resume` says what to look for.
        state: of the run folder, see folder.RunLock.

    Raises:
        UserError: there are checkpoints and none is whole, or the one that was asked for cannot be used, or settings
            that decide the result have changed, and allow_changes does not say that they may.
    """
    if config.resume == "never":
        return None
    found = _newest(config) if config.resume == "auto" else _asked_for(config, state)
    if found:
        _refuse(found, differences(Config.model_validate(found.state["config"]), config), config)
    return found


def _newest(config: Config) -> Checkpoint | None:
    found, damaged = checkpoint.newest(checkpoints(config))
    if damaged and not found:
        raise damaged[0]
    for error in damaged:
        if is_main_process():
            log(f"warning: {error.got}; the one before is taken")
    return found


def _asked_for(config: Config, state: str) -> Checkpoint:
    own, wanted = checkpoints(config), Path(config.resume)
    found = checkpoint.read(wanted)
    if wanted.resolve().parent != own.resolve():
        if state != "new":
            raise ConfigError(
                f"--resume {wanted}, and output {config.output} holds a run of its own",
                "a new folder to go on in",
                "choose another --output",
            )
    elif later := [path.name for path in own.glob("step-*") if path.name > found.folder.name]:
        raise ConfigError(
            f"--resume {wanted}, and the run has come as far as {max(later)}",
            "a new folder for going back, so that nothing is lost",
            "choose another --output",
        )
    return found


def check_data(found: Checkpoint, job: PreparedRun) -> None:
    """Whether the rows are those that the run began with.

    Raises:
        ConfigError: they are not, and allow_changes does not say that they may be others.
    """
    digests = job.digests()
    changed = [f"other {what}" for what, digest in found.state["data"].items() if digests[what] != digest]
    _refuse(found, changed, job.config)


def check_step(found: Checkpoint, config: Config, processes: int) -> None:
    """Whether a step has as many rows as before.

    Raises:
        ConfigError: it has not, and allow_changes does not say that it may.
    """
    batch, before = config.batch, found.state["rows_per_step"]
    now = batch.rows_per_step(processes)
    if now != before:
        product = f"batch.size {batch.size} x batch.accumulate {batch.accumulate} x {processes} processes"
        _refuse(found, [f"rows a step {before} -> {now} ({product})"], config)


def _refuse(found: Checkpoint, changes: Sequence[str], config: Config) -> None:
    if changes and config.allow_changes:
        if is_main_process():
            log("warning: going on with changes: " + "; ".join(changes))
    elif changes:
        raise ConfigError(
            f"{found.folder} is of a run with other settings or data: " + "; ".join(changes),
            "what the run began with",
            "undo the change, choose another --output for a new run, or --allow_changes to go on all the same",
        )


def peak(found: Checkpoint | None, config: Config, processes: int) -> float:
    """The peak learning rate: the one in force, unless the settings that it comes from have changed.

    With another number of processes it stays what it was, whatever lr_scaling would make of them.
    """
    if found:
        before = Config.model_validate(found.state["config"]).training
        if (before.learning_rate, before.lr_scaling) == (config.training.learning_rate, config.training.lr_scaling):
            return float(found.state["progress"]["peak"])
    return scaled_lr(config.training, processes)
