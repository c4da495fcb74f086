"""One run, from a configuration to a run folder."""

import json
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from accel_clf import baseline, checkpoint, folder, programs, report, resume
from accel_clf.checkpoint import Checkpoint, Writer
from accel_clf.config import Config
from accel_clf.console import say
from accel_clf.data.sources import Rows
from accel_clf.data.tokens import Tokens
from accel_clf.errors import Interrupted, UserError
from accel_clf.evaluation import Measured, batches_by_length, logits, measure, probabilities
from accel_clf.folder import Claim
from accel_clf.job import Job, prepare
from accel_clf.loop import Progress, TrainingRows, epoch_batches, fit
from accel_clf.model import load_trained, save
from accel_clf.optim import make_optimizer
from accel_clf.process import in_a_core, is_first_process, once_a_process
from accel_clf.strategies import launch
from accel_clf.strategies.base import Program, Strategy

EVALUATION_ROWS = 4  # times the training batch's: without gradients there is room


def train(config: Config) -> dict[str, Any]:
    """Train as configured; the contents of the run's metrics.json (on the process that speaks; empty on others).

    Raises:
        UserError: whatever the user can mend.
        Interrupted: a signal has asked for it; the state is saved.
    """
    claim = once_a_process(("claim", config), lambda: Claim(config))
    try:
        return _train(config, claim.state)
    finally:
        if not in_a_core():  # where others may not be done yet; the lock goes with the process
            claim.release()


def _train(config: Config, state: str) -> dict[str, Any]:
    output = Path(config.output)
    if state == "finished":
        if not is_first_process():
            return {}
        told = f"{output} is finished; for another run choose another --output"
        once_a_process(("finished", config), lambda: say(told))
        return {} if in_a_core() else folder.read_json(output / "metrics.json")
    hardware = launch.choose(config)
    job, found = once_a_process(("job", config), lambda: _prepare(config, state))
    speaks = hardware(lambda strategy: _Run(job, output, strategy, found).go(unfinished=state == "unfinished"))
    if not speaks or not (output / "metrics.json").is_file():  # which may lie on a pod's first machine
        return {}
    results = folder.read_json(output / "metrics.json")
    if config.evaluation.baseline and job.parts.validation:
        _add_baseline(results, job, output)
    return results


def _prepare(config: Config, state: str) -> tuple[Job, Checkpoint | None]:
    """The job, and the checkpoint to go on from, whose weights its model has then."""
    found = resume.find(config, state)
    job = prepare(config)
    if found:
        resume.check_data(found, job)
        job.model.load_state_dict(found.weights())
    return job, found


def _add_baseline(results: dict[str, Any], job: Job, output: Path) -> None:
    assert job.parts.validation, "only called with validation rows"
    say("fitting TF-IDF with logistic regression on the same rows")
    try:
        results["baseline"] = {"accuracy": baseline.accuracy(job.parts.train, job.parts.validation)}
    except ValueError as error:  # texts in which scikit-learn finds no word
        say(f"warning: no baseline: {str(error).splitlines()[0]}")
    folder.write_json(output / "metrics.json", results)


class _Run:
    """A run in progress on one process or core."""

    def __init__(self, job: Job, output: Path, strategy: Strategy, found: Checkpoint | None) -> None:
        self.job, self.config, self.output, self.strategy, self.found = job, job.config, output, strategy, found
        self.layout = strategy.layout if self.config.batch.layout == "auto" else self.config.batch.layout
        self.tokens, self.validation_tokens, self.test_tokens = job.tokens
        self.evaluation_size = self.config.batch.size * EVALUATION_ROWS
        peak = resume.peak(found, self.config, strategy.processes)
        before = deepcopy(found.state["progress"]) if found else {}  # cores share what was read, and each goes on
        self.progress = Progress(**{**before, "peak": peak})
        self.best: dict[str, Any] | None = found.state["best"] if found else None

    def _tell(self, line: str) -> None:
        if self.strategy.is_main:
            say(line)

    def _open_folder(self, unfinished: bool) -> None:
        self.output.mkdir(parents=True, exist_ok=True)
        checkpoints = resume.checkpoints(self.config)
        checkpoint.clean(checkpoints)
        if self.found:
            say(f"going on after step {self.progress.step}, from {self.found.folder}")
            if self.found.folder.resolve().parent != checkpoints.resolve():
                checkpoint.bring(self.found, checkpoints)
            if best := self.found.best_weights():  # what lies there may be of a later one
                save(self.output / "model", self.job.model, best, self.job.tokenizer)
        elif unfinished:
            say(f"{self.output} holds an unfinished run without a checkpoint, which starts again")
        folder.cut_log(self.output, self.progress.step)
        folder.write_config(self.output, self.config)
        environment = folder.environment(self.strategy.chosen, self.strategy.processes, self.progress.step)
        folder.write_json(self.output / "environment.json", environment)

    def go(self, unfinished: bool) -> None:
        """Train, measure, and write it all down."""
        self._tell(self.strategy.chosen)
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
            self._open_folder(unfinished)
        bare, parts = self.job.model, self.job.parts
        model, optimizer = self.strategy.prepare(
            bare, lambda moved: make_optimizer(moved, self.config.training.weight_decay)
        )
        if self.found:
            self.strategy.restore(model, optimizer, self.found.moments())
            self.strategy.restore_scaler(self.found.state["scaler"])
        rows = TrainingRows(self.tokens, parts.train.labels.codes, parts.train.ids, self.layout, self.job.pad_id)
        if self.layout == "bucketed":
            self.strategy.announce(self._programs(rows))
        with checkpoint.Writer(resume.checkpoints(self.config), self.config.checkpoint.keep) as writer:
            try:
                self._fit(model, optimizer, rows, writer)
                writer.wait()
                self.strategy.barrier()  # the model is on disk
                results = self._results(model)
            except Interrupted:
                writer.wait()
                self._tell(f"stopped after step {self.progress.step}, whose state is saved in {writer.folder}")
                self.strategy.barrier()  # a launcher whose process has ended ends the others
                raise
        if self.strategy.is_main:
            folder.write_json(self.output / "metrics.json", results)
        self.strategy.barrier()  # nobody leaves while another still speaks

    def _fit(self, model: nn.Module, optimizer: torch.optim.Optimizer, rows: TrainingRows, writer: Writer) -> None:
        always: dict[str, Any] = {}  # what is the same in all checkpoints
        if self.strategy.is_main:
            always = {
                "rows_per_step": self.config.batch.rows_per_step(self.strategy.processes),
                "data": self.job.digests(),
                "config": self.config.model_dump(mode="json"),
                "versions": folder.versions(),
            }

        def keep() -> None:
            state = self.strategy.host_state(model)
            if self.strategy.is_main:
                save(self.output / "model", self.job.model, state, self.job.tokenizer)

        def save_state() -> None:
            weights, moments = self.strategy.host_state(model), self.strategy.host_moments(model, optimizer)
            if not self.strategy.is_main:
                return
            now = {"progress": asdict(self.progress), "best": self.best, "scaler": self.strategy.scaler_state()}
            writer.write(now | always, weights, moments)

        try:
            fit(
                model,
                optimizer,
                rows,
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
        if parts.test and self.test_tokens:
            results["test"] = self._test(parts.test, self.test_tokens)
        return results | ({"hardware": counts} if (counts := self.strategy.counts()) else {})

    def _programs(self, rows: TrainingRows) -> set[Program]:
        config, processes = self.config, self.strategy.processes
        return programs.expected(
            (epoch_batches(rows, config, processes, epoch) for epoch in range(config.training.epochs)),
            config.batch.accumulate,
            (
                batches_by_length(tokens, self.evaluation_size * processes, self.layout, config.data.max_length)
                for tokens in (self.validation_tokens, self.test_tokens)
                if tokens
            ),
            processes,
            len(self.job.parts.train.label_names),
        )

    def _record(self, line: dict[str, Any]) -> None:
        if self.strategy.is_main:
            with (self.output / "metrics.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, allow_nan=False) + "\n")

    def _logits(self, model: nn.Module, tokens: Tokens) -> Any:
        return logits(
            model,
            tokens,
            self.strategy,
            size=self.evaluation_size,
            layout=self.layout,
            max_length=self.config.data.max_length,
            pad_id=self.job.pad_id,
        )

    def _validate(self, model: nn.Module, step: int) -> bool:
        """Whether the model as it is is the best so far; the first process's answer counts."""
        rows, tokens = self.job.parts.validation, self.validation_tokens
        assert rows and tokens, "only called with validation rows"
        found = self._logits(model, tokens)
        if not self.strategy.is_main:
            return False
        measured = measure(found, rows, self.config.evaluation)
        averages = {name: value for name, value in measured.metrics.items() if isinstance(value, float)}
        self._record({"event": "validation", "step": step, **averages})
        self._tell(f"step {step}: " + "  ".join(f"{name} {value:.4f}" for name, value in averages.items()))
        better = self.best is None or measured.score > self.best["score"]
        if better:
            self.best = {"score": measured.score, "metrics": measured.metrics}
        return better

    def _test(self, rows: Rows, tokens: Tokens) -> dict[str, Any]:
        """Measure the model that was saved, read back: what is measured is what the user has."""
        saved = self.strategy.prepare_for_evaluation(load_trained(self.output / "model", self.config.model)[0])
        found = self._logits(saved, tokens)
        if not self.strategy.is_main:
            return {}
        measured = measure(found, rows, self.config.evaluation)
        with folder.whole(self.output / "predictions.csv") as file:
            columns = ("row", "label", "predicted", "score")
            folder.write_answers(file, _predictions(rows, measured), columns, rows.label_names, as_csv=True)
        return measured.metrics


def _predictions(rows: Rows, measured: Measured) -> Iterator[dict[str, Any]]:
    """A test set's rows: place in its source, right label, and the model's answer."""
    for row, label, row_probabilities in zip(rows.ids, rows.labels.codes, probabilities(measured.logits), strict=True):
        answer = folder.answer(rows.label_names, row_probabilities)
        yield {"row": int(row), "label": rows.label_names[label], "predicted": answer.pop("label"), **answer}


def summary(results: dict[str, Any], output: str) -> str:
    """What `accel-clf train` prints at its end."""
    trained = results["training"]
    best = f", best after {trained['best_step']}" if "validation" in results else ""
    lines = [
        f"trained {trained['steps']} steps in {trained['seconds']:.1f} s{best}"
        + (" (stopped early)" if trained["stopped_early"] else "")
    ]
    for part in ("validation", "test"):
        if part in results:
            lines.append(f"\n{part}: {report.metrics(results[part])}")
    if "baseline" in results:
        lines.append(f"\nTF-IDF + logistic regression on the same rows: accuracy {results['baseline']['accuracy']:.4f}")
    lines.append(f'\nrun folder: {output}\ntry it:     accel-clf predict {output} "..."')
    return "\n".join(lines)
