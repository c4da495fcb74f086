"""Cross-validation: a run a fold, one after another or each on a machine of its own, in one folder."""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from accel_clf.config.schema import Config, load
from accel_clf.core.console import say
from accel_clf.core.errors import ConfigError, UserError
from accel_clf.core.process_env import in_a_core, is_first_process, once_a_process
from accel_clf.cross_validation import aggregate
from accel_clf.data import splits, splitting
from accel_clf.data.splits import Parts
from accel_clf.run_folder import layout
from accel_clf.run_folder.layout import Claim
from accel_clf.strategies import launch
from accel_clf.strategies.base import Strategy
from accel_clf.training import precompile, prepare, resume
from accel_clf.training.prepare import Job
from accel_clf.training.trainer import Run, Start


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
    claims = once_a_process(("claims", config), lambda: _Claims(config, wanted))
    try:
        return _cross_validate(config, claims.states)
    finally:
        if not in_a_core():  # where others may not be done yet; the locks go with the process
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


def fold_config(config: Config, fold: int) -> Config:
    """A fold's settings: a folder and a seed of its own, whichever others are trained beside it."""
    seed = int(np.random.SeedSequence((config.training.seed, fold)).generate_state(1)[0])
    return config.model_copy(
        update={
            "output": str(Path(config.output) / layout.fold_name(fold)),
            "training": config.training.model_copy(update={"seed": seed}),
            "resume": "auto",
        }
    )


class Folds:
    """All rows of a cross-validation, tokenized once, and the jobs that share them.

    Args:
        config: the settings.

    Attributes:
        whole: the job that all rows would make.
        assignment: int64 [rows], the fold that holds each row out.

    Raises:
        UserError: whatever the user can mend, in any of the folds.
    """

    def __init__(self, config: Config) -> None:
        found, self.assignment = _rows(config)
        self.config = config
        self.whole, _ = prepare.prepare(config, found)  # each fold loads the model anew, with a head of its own
        for fold in range(config.folds):
            self.job(fold)  # whose rows may not be enough for a share to validate on
        _warn_of_twins(found, self.assignment)

    def job(self, fold: int) -> Job:
        """A fold's. Its held-out rows have no say in which of its models is the best."""
        config, whole = fold_config(self.config, fold), self.whole
        learned, held_out = np.flatnonzero(self.assignment != fold), np.flatnonzero(self.assignment == fold)
        rows = whole.parts
        tokens = {part: its_tokens for part, its_tokens in whole.tokens.items() if part != "train"}
        validation = rows.validation
        if isinstance(config.data.validation, float):
            kept, measured = splits.share(rows.train.take(learned), config.data.validation, config.training.seed)
            validation = rows.train.take(learned[measured])
            tokens["validation"] = whole.tokens["train"].take(learned[measured])
            learned = learned[kept]
        tokens |= {"train": whole.tokens["train"].take(learned), "held_out": whole.tokens["train"].take(held_out)}
        found = Parts(rows.train.take(learned), validation, rows.test, rows.train.take(held_out))
        return Job(config, found, whole.tokenizer, tokens)


def _cross_validate(config: Config, states: Mapping[int, str]) -> dict[str, Any]:
    todo = {fold: state for fold, state in states.items() if state != "finished"}
    speaks, rows = is_first_process(), None
    if todo:
        hardware = launch.choose(config)
        folds = once_a_process(("folds", config), lambda: Folds(config))
        speaks, rows = hardware(partial(_train, folds, todo)), (folds.whole.parts, folds.assignment)
    if not speaks:
        return {}
    if lacking := _unfinished(config):
        say(f"{_named(lacking)} not finished yet; the last one to finish puts the answers of all together")
        return {}
    results = Path(config.output) / "metrics.json"
    if not todo and results.is_file():
        say(f"{config.output} is finished; for another cross-validation choose another --output")
        return layout.read_json(results)
    return aggregate.collect(config, *(rows or _rows(config)))


def _train(folds: Folds, todo: Mapping[int, str], strategy: Strategy) -> None:
    """Train folds one after another on the same hardware: what is compiled for one serves the next."""
    if strategy.is_main:
        _write_folds(folds)
    announced = set()
    if strategy.layout_for(folds.config) == "bucketed":
        announced = set().union(*(precompile.of_job(folds.job(fold), strategy.processes) for fold in todo))
    for fold, state in todo.items():
        if strategy.is_main:
            say(f"fold {fold}, of {folds.config.folds} from 0")
        start = strategy.shared(partial(_start, folds, fold, state))
        run = Run(start, strategy, announced)
        del start  # so that nothing holds the model when the next one comes
        model, optimizer = run.go()
        if missing := strategy.missing():
            precompile.run_ahead(missing, announced, model, optimizer, folds.whole, strategy)
        if strategy.is_main:  # nothing can go on from them any more, and ten folds' would fill the disk
            shutil.rmtree(resume.checkpoints(run.config), ignore_errors=True)
        del run, model, optimizer
        strategy.renew()


def _start(folds: Folds, fold: int, state: str) -> Start:
    def make() -> tuple[Job, nn.Module]:
        own = folds.job(fold)
        return own, own.load_model()

    return Start.of(fold_config(folds.config, fold), state, make)


def _rows(config: Config) -> tuple[Parts, np.ndarray]:
    """The rows (those of the training data all as `train`), and the fold of each.

    Raises:
        UserError: they cannot be dealt out, or the folder's folds are of other rows.
    """
    share = isinstance(config.data.validation, float)
    data = config.data.model_copy(update={"validation": None}) if share else config.data
    found = prepare.read(config.model_copy(update={"data": data}))
    rows = found.train
    slices, groups = (column.codes if column else None for column in (rows.slices, rows.groups))
    assignment = splitting.folds(
        rows.labels.codes, slices, groups, config.folds, config.training.seed, rows.label_names
    )
    if rows.groups:
        splitting.check_apart(rows.groups.codes, assignment, rows.groups.names)
    path = Path(config.output) / layout.FOLDS
    before = layout.read_json(path) if path.is_file() else {}
    now = _as_json(config, found, assignment)
    if before and before != now:
        changed = "; ".join(
            f"{what} {_short(before.get(what))} -> {_short(now[what])}" for what in now if before.get(what) != now[what]
        )
        raise ConfigError(
            f"{path} is of other folds: {changed}",
            "the rows and folds that it began with",
            "undo the change, or choose another --output",
        )
    return found, assignment


def _as_json(config: Config, found: Parts, assignment: np.ndarray) -> dict[str, Any]:
    ids = found.train.ids
    return {
        "folds": config.folds,
        "seed": config.training.seed,
        "rows": found.train.digest(),
        "held_out": [ids[assignment == fold].tolist() for fold in range(config.folds)],
    }


def _short(value: Any) -> str:
    told = str(value)
    return told if len(told) <= 16 else f"{told[:12]}..."


def _write_folds(folds: Folds) -> None:
    output = Path(folds.config.output)
    layout.write_json(output / layout.FOLDS, _as_json(folds.config, folds.whole.parts, folds.assignment), indent=None)
    layout.write_config(output, folds.config)


def _warn_of_twins(found: Parts, assignment: np.ndarray) -> None:
    texts, place = np.unique(found.train.digests, axis=0, return_inverse=True)
    in_folds = np.unique(np.stack([place.ravel(), assignment], axis=1), axis=0)[:, 0]
    twins = int((np.bincount(in_folds, minlength=len(texts)) > 1)[place.ravel()].sum())
    if twins and is_first_process():
        say(
            f"warning: {twins} rows have the text of a row in another fold, which flatters the result; "
            "data.group keeps such rows together"
        )


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


class _Claims:
    """The folders of folds that no other run may use until they are released.

    Attributes:
        states: of each fold's, see folder.Claim.
    """

    def __init__(self, config: Config, wanted: Sequence[int]) -> None:
        self.output, self.claims = Path(config.output), []
        anew = config.resume == "never"
        if anew and is_first_process():
            _set_aside(self.output)
        if not anew or is_first_process():  # others may look while it is set aside
            _check_folder(config)
        self.states: dict[int, str] = dict.fromkeys(wanted, "new") if anew else {}
        try:
            for fold in wanted:
                claim = Claim(fold_config(config, fold))
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
    locks = [layout.lock(inside) for inside in sorted(output.glob("fold-*")) if inside.is_dir()]
    for lock in locks:
        lock.release()
    layout.set_aside(output)


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
    if written.is_file() and (changes := layout.differences(load(written, {}), config)):
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
