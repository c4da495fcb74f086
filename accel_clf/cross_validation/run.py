"""Cross-validation: a run per fold, one after another or each on a machine of its own, in one folder."""

import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from accel_clf.config.schema import Config
from accel_clf.core.console import log
from accel_clf.core.errors import ConfigError, UserError
from accel_clf.core.files import read_json
from accel_clf.core.process_env import in_xla_worker, is_main_process, shared_across_cores
from accel_clf.cross_validation.aggregate import aggregate
from accel_clf.cross_validation.assignment import assign_folds, with_given_folds
from accel_clf.cross_validation.folds import Folds, fold_config
from accel_clf.cross_validation.lock import CrossValidationLock, check_folder, folds_are, unfinished_folds
from accel_clf.run_folder import layout
from accel_clf.strategies import launch
from accel_clf.strategies.base import Strategy
from accel_clf.tracking.followers import Followers, TrackedRun, check_installed
from accel_clf.training import precompile, resume
from accel_clf.training.prepare import PreparedRun
from accel_clf.training.resume import InitialState
from accel_clf.training.shared_folder import check_shared
from accel_clf.training.trainer import Trainer


def cross_validate(config: Config, only: int | None = None) -> dict[str, Any]:
    """Train the folds that are not finished, or one of them; when all are finished, aggregate them.

    Args:
        config: the settings.
        only: a fold, from 0; None for all.

    Returns:
        The contents of metrics.json on rank 0; empty while folds are missing, and on other processes.

    Raises:
        UserError: whatever the user can fix.
        Interrupted: a signal has asked to stop; the state is saved.
    """
    config = with_given_folds(config)
    _check_flags(config, only)
    check_installed(config.trackers)
    launch.join_hosts(config)
    folds = range(config.folds) if only is None else [only]
    lock = shared_across_cores(("lock", config), lambda: CrossValidationLock(config, folds))
    try:
        with shared_across_cores(("followers", config), lambda: _followers(config, folds)):
            return _cross_validate(config, lock.states)
    finally:
        if not in_xla_worker():  # where other cores may not be done yet: the last of them to return releases them
            lock.release()


def collect(config: Config) -> dict[str, Any]:
    """Aggregate the finished folds; return the contents of metrics.json.

    Raises:
        UserError: a fold is not finished, or not one of these rows and settings.
    """
    config = with_given_folds(config)
    check_folder(config)
    if unfinished := unfinished_folds(config):
        raise UserError(
            f"{config.output}: {folds_are(unfinished)} not finished",
            f"{config.folds} finished folds",
            "train what is missing: " + ", ".join(f"--fold {fold}" for fold in unfinished),
        )
    check_installed(config.trackers)
    with _followers(config, range(config.folds)):
        return aggregate(config, *assign_folds(config))


def _followers(config: Config, folds: Sequence[int]) -> Followers:
    """Send folds to trackers, and what they say together: all in one group."""
    output, group = Path(config.output), config.tracking.group or Path(config.output).name
    names = [layout.fold_name(fold) for fold in folds]
    runs = [TrackedRun(output / name, f"{output.name}-{name}", group) for name in names]
    return Followers(config, [*runs, TrackedRun(output, output.name, group)])


def _cross_validate(config: Config, states: Mapping[int, str]) -> dict[str, Any]:
    remaining = {fold: state for fold, state in states.items() if state != "finished"}
    is_main, assigned = is_main_process(), None
    if remaining:
        run_on_hardware = launch.choose(config)
        folds = shared_across_cores(("folds", config), lambda: Folds(config))
        is_main = run_on_hardware(partial(_train, folds, remaining))
        assigned = (folds.all_rows.splits, folds.assignment)
    if not is_main:
        return {}
    if unfinished := unfinished_folds(config):
        log(f"{folds_are(unfinished)} not finished yet; the last one to finish aggregates all of them")
        return {}
    results = Path(config.output) / "metrics.json"
    if not remaining and results.is_file():
        log(f"{config.output} is finished; for another cross-validation choose another --output")
        return read_json(results)
    return aggregate(config, *(assigned or assign_folds(config)))


def _train(folds: Folds, remaining: Mapping[int, str], strategy: Strategy) -> None:
    """Train folds one after another on the same hardware: what is compiled for one serves the next."""
    check_shared(Path(folds.config.output), strategy)
    if strategy.is_main:
        folds.write()
    compiler, graphs = strategy.compiler, set()
    if compiler and strategy.layout_for(folds.config) == "bucketed":
        graphs = set().union(*(precompile.graphs_of_run(folds.prepare(fold), strategy.processes) for fold in remaining))
    for fold, folder_state in remaining.items():
        if strategy.is_main:
            log(f"{folds.describe(fold)}, of {folds.config.folds} from 0")
        load = partial(_load, folds, fold, folder_state)
        initial = compiler.make_once(load) if compiler else load()
        trainer = Trainer(initial, strategy, graphs)
        del initial  # so that nothing keeps the model when the next one is loaded
        model, optimizer = trainer.run()
        if compiler and (pending := compiler.pending_graphs()):
            precompile.compile_ahead(pending, graphs, model, optimizer, folds.all_rows, strategy)
        if strategy.is_main:  # nothing can resume from them any more, and ten folds' would fill the disk
            shutil.rmtree(resume.checkpoints_folder(trainer.config), ignore_errors=True)
        del trainer, model, optimizer
        strategy.reset()


def _load(folds: Folds, fold: int, folder_state: str) -> InitialState:
    def make() -> tuple[PreparedRun, nn.Module]:
        prepared = folds.prepare(fold)
        return prepared, prepared.load_model()

    return InitialState.load(fold_config(folds.config, fold), folder_state, make)


def _check_flags(config: Config, only: int | None) -> None:
    if only is not None and not 0 <= only < config.folds:
        raise ConfigError(f"--fold {only}", f"0 to {config.folds - 1}: folds are counted from 0")
    if config.resume not in ("auto", "never"):
        raise ConfigError(f"resume is {config.resume}, in a cross-validation", "auto or never", "--resume auto")
    if config.resume == "never" and only is not None:
        raise ConfigError(
            "--resume never and --fold",
            "one of them: what is set aside is the whole folder",
            f"to train fold {only} from scratch, remove {fold_config(config, only).output}",
        )
