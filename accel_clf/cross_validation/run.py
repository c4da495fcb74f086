"""Cross-validation: a run a fold, one after another or each on a machine of its own, in one folder."""

import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from accel_clf.config.schema import Config
from accel_clf.core.console import log
from accel_clf.core.errors import ConfigError, UserError
from accel_clf.core.files import read_json
from accel_clf.core.process_env import in_xla_worker, is_main_process, shared_across_cores
from accel_clf.cross_validation import aggregate
from accel_clf.cross_validation.folds import Folds, _rows, _write_folds, fold_config
from accel_clf.cross_validation.lock import CrossValidationLock, _check_folder, _named, _unfinished
from accel_clf.strategies import launch
from accel_clf.strategies.base import Strategy
from accel_clf.training import precompile, resume
from accel_clf.training.prepare import PreparedRun
from accel_clf.training.trainer import InitialState, Trainer


def cross_validate(config: Config, only: int | None = None) -> dict[str, Any]:
    """Train the folds that are not finished, or one of them; when all are, put their answers together.

    Args:
        config: the settings.
        only: a fold, from 0; None for all.

    Returns:
        What is in metrics.json then, on the process that speaks; empty while folds are missing, and on others.

    Raises:
        UserError: whatever the user can mend.
        Interrupted: a signal has asked for it; the state is saved.
    """
    _check(config, only)
    wanted = range(config.folds) if only is None else [only]
    claims = shared_across_cores(("claims", config), lambda: CrossValidationLock(config, wanted))
    try:
        return _cross_validate(config, claims.states)
    finally:
        if not in_xla_worker():  # where others may not be done yet; the locks go with the process
            claims.release()


def collect(config: Config) -> dict[str, Any]:
    """Put the answers of all folds together: what is in metrics.json then.

    Raises:
        UserError: a fold is not finished, or not one of these rows and settings.
    """
    _check_folder(config)
    if lacking := _unfinished(config):
        raise UserError(
            f"{config.output}: {_named(lacking)} not finished",
            f"{config.folds} finished folds",
            "train what is missing: " + ", ".join(f"--fold {fold}" for fold in lacking),
        )
    return aggregate.collect(config, *_rows(config))


def _cross_validate(config: Config, states: Mapping[int, str]) -> dict[str, Any]:
    todo = {fold: state for fold, state in states.items() if state != "finished"}
    speaks, rows = is_main_process(), None
    if todo:
        hardware = launch.choose(config)
        folds = shared_across_cores(("folds", config), lambda: Folds(config))
        speaks, rows = hardware(partial(_train, folds, todo)), (folds.whole.parts, folds.assignment)
    if not speaks:
        return {}
    if lacking := _unfinished(config):
        log(f"{_named(lacking)} not finished yet; the last one to finish puts the answers of all together")
        return {}
    results = Path(config.output) / "metrics.json"
    if not todo and results.is_file():
        log(f"{config.output} is finished; for another cross-validation choose another --output")
        return read_json(results)
    return aggregate.collect(config, *(rows or _rows(config)))


def _train(folds: Folds, todo: Mapping[int, str], strategy: Strategy) -> None:
    """Train folds one after another on the same hardware: what is compiled for one serves the next."""
    if strategy.is_main:
        _write_folds(folds)
    announced = set()
    if strategy.layout_for(folds.config) == "bucketed":
        announced = set().union(*(precompile.graphs_of_run(folds.job(fold), strategy.processes) for fold in todo))
    for fold, state in todo.items():
        if strategy.is_main:
            log(f"fold {fold}, of {folds.config.folds} from 0")
        start = strategy.shared(partial(_start, folds, fold, state))
        run = Trainer(start, strategy, announced)
        del start  # so that nothing holds the model when the next one comes
        model, optimizer = run.run()
        if missing := strategy.missing():
            precompile.compile_ahead(missing, announced, model, optimizer, folds.whole, strategy)
        if strategy.is_main:  # nothing can go on from them any more, and ten folds' would fill the disk
            shutil.rmtree(resume.checkpoints(run.config), ignore_errors=True)
        del run, model, optimizer
        strategy.reset()


def _start(folds: Folds, fold: int, state: str) -> InitialState:
    def make() -> tuple[PreparedRun, nn.Module]:
        own = folds.job(fold)
        return own, own.load_model()

    return InitialState.of(fold_config(folds.config, fold), state, make)


def _check(config: Config, only: int | None) -> None:
    if only is not None and not 0 <= only < config.folds:
        raise ConfigError(f"--fold {only}", f"0 to {config.folds - 1}: folds are counted from 0")
    if config.resume not in ("auto", "never"):
        raise ConfigError(f"resume is {config.resume}, in a cross-validation", "auto or never", "--resume auto")
    if config.resume == "never" and only is not None:
        raise ConfigError(
            "--resume never and --fold",
            "one of them: what is set aside is the whole folder",
            f"to train fold {only} anew, remove {fold_config(config, only).output}",
        )
