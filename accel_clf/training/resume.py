"""Where a run begins or resumes: from which checkpoint, and whether it is of the same run."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Self

from torch import nn

from accel_clf.config.schema import Config
from accel_clf.core.console import log
from accel_clf.core.errors import ConfigError
from accel_clf.core.process_env import is_main_process
from accel_clf.models.freezing import digest_of, frozen_names
from accel_clf.run_folder.compat import differences
from accel_clf.training import checkpoint
from accel_clf.training.checkpoint import Checkpoint, Tensors
from accel_clf.training.linear_probe import fit_head
from accel_clf.training.optim import scaled_lr
from accel_clf.training.prepare import PreparedRun

FROZEN = "frozen"  # the key, in a checkpoint's state, of the digest of what is not trained


class InitialState(NamedTuple):
    """Where a run begins or resumes.

    Attributes:
        prepared: its rows and tokens.
        model: its weights, on the host.
        checkpoint: that they are from; None at the beginning.
        is_unfinished: whether the folder holds a run already.
    """

    prepared: PreparedRun
    model: nn.Module
    checkpoint: Checkpoint | None
    is_unfinished: bool

    @classmethod
    def load(cls, config: Config, folder_state: str, make: Callable[[], tuple[PreparedRun, nn.Module]]) -> Self:
        """Find out where a run is, and load its weights.

        Args:
            config: its settings.
            folder_state: see run_folder.lock.RunLock.
            make: prepares the run and its first weights.

        Raises:
            UserError: it cannot resume from what its folder holds.
        """
        saved = find_checkpoint(config, folder_state)
        prepared, model = make()
        if saved:
            check_data(saved, prepared)
            check_frozen(saved, model, config)
            model.load_state_dict(with_frozen(saved.weights(), model, config))
        elif config.training.method == "lp_ft":
            fit_head(model, prepared)
        return cls(prepared, model, saved, folder_state == "unfinished")


def checkpoints_folder(config: Config) -> Path:
    """Return the folder of a run's checkpoints."""
    return Path(config.output) / "checkpoints"


def find_checkpoint(config: Config, folder_state: str) -> Checkpoint | None:
    """Find the checkpoint to resume from; None for the beginning.

    Args:
        config: the settings; `resume` says what to look for.
        folder_state: of the run folder, see run_folder.lock.RunLock.

    Raises:
        UserError: there are checkpoints and none is intact, or the requested one cannot be used, or settings that
            decide the result have changed, and allow_changes does not permit that.
    """
    if config.resume == "never":
        return None
    saved = _newest(config) if config.resume == "auto" else _requested(config, folder_state)
    if saved:
        _refuse(saved, differences(Config.model_validate(saved.state["config"]), config), config)
    return saved


def _newest(config: Config) -> Checkpoint | None:
    intact, damaged = checkpoint.newest(checkpoints_folder(config))
    if damaged and not intact:
        raise damaged[0]
    for error in damaged:
        if is_main_process():
            log(f"warning: {error.got}; the one before is taken")
    return intact


def _requested(config: Config, folder_state: str) -> Checkpoint:
    run_folder, path = checkpoints_folder(config), Path(config.resume)
    requested = checkpoint.read(path)
    if path.resolve().parent != run_folder.resolve():
        if folder_state != "new":
            raise ConfigError(
                f"--resume {path}, and output {config.output} holds a run of its own",
                "a new folder to resume in",
                "choose another --output",
            )
    elif later := [other.name for other in run_folder.glob("step-*") if other.name > requested.folder.name]:
        raise ConfigError(
            f"--resume {path}, and the run has come as far as {max(later)}",
            "a new folder for going back, so that nothing is lost",
            "choose another --output",
        )
    return requested


def check_data(saved: Checkpoint, prepared: PreparedRun) -> None:
    """Compare the rows with those that the run began with.

    Raises:
        ConfigError: they differ, and allow_changes does not permit that.
    """
    digests = prepared.digests()
    changes = [f"other {name}" for name, digest in saved.state["data"].items() if digests[name] != digest]
    _refuse(saved, changes, prepared.config)


def check_frozen(saved: Checkpoint, model: nn.Module, config: Config) -> None:
    """Compare the weights that are not trained, which checkpoints lack, with those that the run began with.

    Raises:
        ConfigError: they differ, and allow_changes does not permit that.
    """
    frozen = frozen_names(model, config.model)
    if frozen and saved.state.get(FROZEN) not in (None, digest_of(model, frozen)):
        _refuse(saved, [f"other weights of {config.model.name}"], config)


def with_frozen(weights: Tensors, model: nn.Module, config: Config) -> Tensors:
    """Return a checkpoint's weights and those that are not trained, which are the model's, on the host."""
    frozen = frozen_names(model, config.model)
    return {name: tensor for name, tensor in model.state_dict().items() if name in frozen} | weights


def check_rows_per_step(saved: Checkpoint, config: Config, processes: int) -> None:
    """Compare the number of rows per step with the one before.

    Raises:
        ConfigError: they differ, and allow_changes does not permit that.
    """
    batch, before = config.batch, saved.state["rows_per_step"]
    now = batch.rows_per_step(processes)
    if now != before:
        product = f"batch.size {batch.size} x batch.accumulate {batch.accumulate} x {processes} processes"
        _refuse(saved, [f"rows per step {before} -> {now} ({product})"], config)


def _refuse(saved: Checkpoint, changes: Sequence[str], config: Config) -> None:
    if changes and config.allow_changes:
        if is_main_process():
            log("warning: resuming with changes: " + "; ".join(changes))
    elif changes:
        raise ConfigError(
            f"{saved.folder} is of a run with other settings or data: " + "; ".join(changes),
            "what the run began with",
            "undo the change, choose another --output for a new run, or --allow_changes to resume all the same",
        )


def peak_lr(saved: Checkpoint | None, config: Config, processes: int) -> float:
    """Return the peak learning rate: the one in force, unless the settings that it comes from have changed.

    With another number of processes it stays what it was, whatever lr_scaling would make of them.
    """
    if saved:
        before = Config.model_validate(saved.state["config"]).training
        if (before.learning_rate, before.lr_scaling) == (config.training.learning_rate, config.training.lr_scaling):
            return float(saved.state["progress"]["peak"])
    return scaled_lr(config.training, processes)
