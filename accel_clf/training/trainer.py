"""One run, from a configuration to a run folder."""

import json
from collections.abc import Callable, Set
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import nn

from accel_clf.config.schema import Config
from accel_clf.core.console import log
from accel_clf.core.errors import Interrupted, UserError
from accel_clf.core.files import read_json, write_json
from accel_clf.core.process_env import in_xla_worker, is_main_process, shared_across_cores
from accel_clf.inference.evaluate import evaluate
from accel_clf.inference.forward import logits
from accel_clf.models.kernel_selection import apply_layout
from accel_clf.models.loading import load_trained, save
from accel_clf.run_folder import layout
from accel_clf.run_folder.environment import describe_environment, versions
from accel_clf.run_folder.lock import RunLock
from accel_clf.run_folder.predictions import ANSWERS, write_predictions
from accel_clf.strategies import launch
from accel_clf.strategies.base import CompiledGraph, Strategy
from accel_clf.targets.scores import probabilities
from accel_clf.training import baseline, checkpoint, precompile, resume
from accel_clf.training.checkpoint import Checkpoint, Writer
from accel_clf.training.loop import fit
from accel_clf.training.optim import make_optimizer
from accel_clf.training.prepare import PreparedRun, prepare_run, read_splits
from accel_clf.training.state import TrainState


def train(config: Config) -> dict[str, Any]:
    """Train as configured; the contents of the run's metrics.json (on the process that speaks; empty on others).

    Raises:
        UserError: whatever the user can mend.
        Interrupted: a signal has asked for it; the state is saved.
    """
    claim = shared_across_cores(("claim", config), lambda: RunLock(config))
    try:
        return _train(config, claim.state)
    finally:
        if not in_xla_worker():  # where others may not be done yet; the lock goes with the process
            claim.release()


def _train(config: Config, state: str) -> dict[str, Any]:
    output = Path(config.output)
    if state == "finished":
        if not is_main_process():
            return {}
        told = f"{output} is finished; for another run choose another --output"
        shared_across_cores(("finished", config), lambda: log(told))
        return {} if in_xla_worker() else read_json(output / "metrics.json")
    hardware = launch.choose(config)
    start = shared_across_cores(
        ("job", config), lambda: InitialState.of(config, state, lambda: prepare_run(config, read_splits(config)))
    )
    speaks = hardware(lambda strategy: Trainer(start, strategy).run())
    if not speaks or not (output / "metrics.json").is_file():  # which may lie on a pod's first machine
        return {}
    results = read_json(output / "metrics.json")
    if config.evaluation.baseline and start.job.parts.validation:
        _add_baseline(results, start.job, output)
    return results


class InitialState(NamedTuple):
    """Where a run begins or goes on.

    Attributes:
        job: what it is about.
        model: its weights, on the host.
        found: the checkpoint that they are from; None at the beginning.
        unfinished: whether the folder holds a run already.
    """

    job: PreparedRun
    model: nn.Module
    found: Checkpoint | None
    unfinished: bool

    @classmethod
    def of(cls, config: Config, state: str, make: Callable[[], tuple[PreparedRun, nn.Module]]) -> Self:
        """Where a run is.

        Args:
            config: its settings.
            state: of its folder, see folder.RunLock.
            make: its job and first weights.

        Raises:
            UserError: it cannot go on from what its folder holds.
        """
        found = resume.find_checkpoint(config, state)
        job, model = make()
        if found:
            resume.check_data(found, job)
            model.load_state_dict(found.weights())
        return cls(job, model, found, state == "unfinished")


def _add_baseline(results: dict[str, Any], job: PreparedRun, output: Path) -> None:
    assert job.parts.validation, "only called with validation rows"
    log("fitting TF-IDF with logistic regression on the same rows")
    if (found := baseline.tfidf_accuracy(job.parts.train, job.parts.validation)) is not None:
        results["baseline"] = {"accuracy": found}
    write_json(output / "metrics.json", results)


class Trainer:
    """A run in progress on one process or core.

    Args:
        start: where it begins; the model's weights may be trained in place.
        strategy: the hardware.
        announced: programs that other runs in this process will need.
    """

    def __init__(self, start: InitialState, strategy: Strategy, announced: Set[CompiledGraph] = frozenset()) -> None:
        self.job, self.bare, found, self.unfinished = start
        self.config, self.output, self.strategy = self.job.config, Path(self.job.config.output), strategy
        self.found, self.announced = found, announced
        wanted, asked = strategy.layout_for(self.config), self.config.batch.layout != "auto"
        self.layout, self.why = apply_layout(self.bare, wanted, asked)
        peak = resume.peak(found, self.config, strategy.processes)
        before = deepcopy(found.state["progress"]) if found else {}  # cores share what was read, and each goes on
        self.progress = TrainState(**{**before, "peak": peak})
        self.best: dict[str, Any] | None = found.state["best"] if found else None

    def _tell(self, line: str) -> None:
        if self.strategy.is_main:
            log(line)

    def _open_folder(self) -> None:
        self.output.mkdir(parents=True, exist_ok=True)
        checkpoints = resume.checkpoints(self.config)
        checkpoint.clean(checkpoints)
        if self.found:
            log(f"going on after step {self.progress.step}, from {self.found.folder}")
            if self.found.folder.resolve().parent != checkpoints.resolve():
                checkpoint.bring(self.found, checkpoints)
            if best := self.found.best_weights():  # what lies there may be of a later one
                save(self.output / "model", self.bare, best, self.job.tokenizer)
        elif self.unfinished:
            log(f"{self.output} holds an unfinished run without a checkpoint, which starts again")
        layout.cut_log(self.output, self.progress.step)
        layout.write_config(self.output, self.config)
        environment = describe_environment(self.strategy.chosen, self.strategy.processes, self.progress.step)
        write_json(self.output / "environment.json", environment)

    def run(self) -> tuple[nn.Module, torch.optim.Optimizer]:
        """Train, measure, and write it all down; model and optimizer as the strategy has prepared them."""
        self._tell(f"{self.strategy.chosen}; {self.layout} batches ({self.why})")
        same = self.strategy.gather(torch.tensor([self.progress.step])).tolist()
        if len(set(same)) > 1:
            raise UserError(
                f"the processes would go on after different steps: {sorted(set(same))}",
                "one output folder that all machines share",
                "put --output on a shared disk",
            )
        if self.found:
            resume.check_step(self.found, self.config, self.strategy.processes)
        if self.strategy.is_main:  # all have looked at the folder
            self._open_folder()
        model, optimizer = self.strategy.prepare(
            self.bare, lambda moved: make_optimizer(moved, self.config.training.weight_decay)
        )
        if self.found:
            self.strategy.restore(model, optimizer, self.found.optimizer_state())
            self.strategy.restore_scaler(self.found.state["scaler"])
        if self.layout == "bucketed":
            self.strategy.register_graphs(precompile.graphs_of_run(self.job, self.strategy.processes) | self.announced)
        with checkpoint.Writer(resume.checkpoints(self.config), self.config.checkpoint.keep) as writer:
            try:
                self._fit(model, optimizer, writer)
                writer.wait()
                self.strategy.barrier()  # the model is on disk
                results = self._results(model)
            except Interrupted:
                writer.wait()
                self._tell(f"stopped after step {self.progress.step}, whose state is saved in {writer.folder}")
                self.strategy.barrier()  # a launcher whose process has ended ends the others
                raise
        if self.strategy.is_main:
            write_json(self.output / "metrics.json", results)
        self.strategy.barrier()  # nobody leaves while another still speaks
        return model, optimizer

    def _fit(self, model: nn.Module, optimizer: torch.optim.Optimizer, writer: Writer) -> None:
        always: dict[str, Any] = {}  # what is the same in all checkpoints
        if self.strategy.is_main:
            always = {
                "rows_per_step": self.config.batch.rows_per_step(self.strategy.processes),
                "data": self.job.digests(),
                "config": self.config.model_dump(mode="json"),
                "versions": versions(),
            }

        def keep() -> None:
            state = self.strategy.gather_weights(model)
            if self.strategy.is_main:
                save(self.output / "model", self.bare, state, self.job.tokenizer)

        def save_state() -> None:
            weights, optimizer_state = (
                self.strategy.gather_weights(model),
                self.strategy.gather_optimizer_state(model, optimizer),
            )
            if not self.strategy.is_main:
                return
            now = {"progress": asdict(self.progress), "best": self.best, "scaler": self.strategy.scaler_state()}
            writer.write(now | always, weights, optimizer_state)

        try:
            fit(
                model,
                optimizer,
                self.job.training_rows(self.layout),
                self.config,
                self.strategy,
                progress=self.progress,
                measure=(lambda step: self._validate(model, step)) if self.job.parts.validation else None,
                keep=keep,
                save=save_state,
                record=self._record,
            )
        except torch.OutOfMemoryError as error:
            raise self._out_of_memory() from error

    def _out_of_memory(self) -> UserError:
        size, accumulate = self.config.batch.size, self.config.batch.accumulate
        fix = "a smaller encoder or data.max_length"
        if size > 1:
            half = next(divisor for divisor in range(2, size + 1) if size % divisor == 0)
            fix = f"--batch.size {size // half} --batch.accumulate {accumulate * half}, with the same result"
        return UserError(
            f"the device's memory is full, at step {self.progress.step + 1} with batches of {size} rows",
            fix=f"{fix}; the last checkpoint is intact, and the run goes on from it",
        )

    def _results(self, model: nn.Module) -> dict[str, Any]:
        parts, at = self.job.parts, self.progress
        training = {"rows": len(parts.train), "steps": at.step, "best_step": at.best_step, "seconds": at.seconds}
        results: dict[str, Any] = {"training": {**training, "stopped_early": at.stopped_early}}
        if not self.strategy.sharded:
            digest = self.strategy.check_equal(model)
            results["training"]["weights_at_the_end"] = digest
            if self.strategy.processes > 1:
                self._tell(f"all {self.strategy.processes} ended with the same weights ({digest})")
        if self.best:
            results["validation"] = self.best["metrics"]
        results |= self._final()
        return results | ({"hardware": counts} if (counts := self.strategy.counts()) else {})

    def _record(self, line: dict[str, Any]) -> None:
        if self.strategy.is_main:
            with (self.output / "metrics.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, allow_nan=False) + "\n")

    def _logits(self, model: nn.Module, part: str) -> np.ndarray:
        return logits(
            model,
            self.job.tokens[part],
            self.strategy,
            size=self.config.batch.evaluation_size,
            layout=self.layout,
            max_length=self.config.data.max_length,
            pad_id=self.job.pad_id,
        )

    def _validate(self, model: nn.Module, step: int) -> bool:
        """Whether the model as it is is the best so far; the first process's answer counts."""
        rows = self.job.parts.validation
        assert rows, "only called with validation rows"
        found = self._logits(model, "validation")
        if not self.strategy.is_main:
            return False
        measured = evaluate(probabilities(found), rows, self.config.evaluation)
        averages = {name: value for name, value in measured.metrics.items() if isinstance(value, float)}
        self._record({"event": "validation", "step": step, **averages})
        self._tell(f"step {step}: " + "  ".join(f"{name} {value:.4f}" for name, value in averages.items()))
        better = self.best is None or measured.score > self.best["score"]
        if better:
            self.best = {"score": measured.score, "metrics": measured.metrics}
        return better

    def _final(self) -> dict[str, Any]:
        """Measure the model that was saved, read back: what is measured is what the user has."""
        wanted = {part: rows for part in ANSWERS if (rows := getattr(self.job.parts, part))}
        if not wanted:
            return {}
        read = load_trained(self.output / "model", self.config.model)[0]
        apply_layout(read, self.layout, asked=True)
        saved = self.strategy.prepare_for_evaluation(read)
        results = {}
        for part, rows in wanted.items():
            found = self._logits(saved, part)
            if self.strategy.is_main:
                results[part] = evaluate(probabilities(found), rows, self.config.evaluation).metrics
                write_predictions(self.output / ANSWERS[part], rows, found)
        return results
