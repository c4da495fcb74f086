"""One run, from a configuration to a run folder."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import nn

from accel_clf import baseline, folder, programs, report
from accel_clf.config import Config
from accel_clf.console import say
from accel_clf.data.sources import Rows
from accel_clf.data.tokens import Tokens
from accel_clf.errors import in_a_core, is_first_process
from accel_clf.evaluation import Measured, batches_by_length, logits, measure, probabilities
from accel_clf.job import Job, prepare
from accel_clf.loop import TrainingRows, epoch_batches, fit
from accel_clf.model import load_trained, save
from accel_clf.optim import make_optimizer
from accel_clf.strategies import launch
from accel_clf.strategies.base import Program, Strategy

EVALUATION_ROWS = 4  # times the training batch's: without gradients there is room


def train(config: Config) -> dict[str, Any]:
    """Train as configured; the contents of the run's metrics.json (on the process that speaks; empty on others).

    Raises:
        UserError: whatever the user can mend.
    """
    output = Path(config.output)
    state = folder.state(output, config)
    if state == "finished":
        if not is_first_process():
            return {}
        launch.once_a_process(config, lambda _: say(f"{output} is finished; for another run choose another --output"))
        return {} if in_a_core() else folder.read_json(output / "metrics.json")
    hardware = launch.choose(config)
    job = launch.once_a_process(config, prepare)
    speaks = hardware(lambda strategy: _Run(job, output, strategy).go(starts_again=state == "unfinished"))
    if not speaks or not (output / "metrics.json").is_file():  # which may lie on a pod's first machine
        return {}
    results = folder.read_json(output / "metrics.json")
    if config.evaluation.baseline and job.parts.validation:
        _add_baseline(results, job, output)
    return results


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

    def __init__(self, job: Job, output: Path, strategy: Strategy) -> None:
        self.job, self.config, self.output, self.strategy = job, job.config, output, strategy
        self.layout = strategy.layout if self.config.batch.layout == "auto" else self.config.batch.layout
        self.tokens, self.validation_tokens, self.test_tokens = job.tokens
        self.evaluation_size = self.config.batch.size * EVALUATION_ROWS
        self.best: Measured | None = None

    def _tell(self, line: str) -> None:
        if self.strategy.is_main:
            say(line)

    def _open_folder(self, starts_again: bool) -> None:
        self.output.mkdir(parents=True, exist_ok=True)
        if starts_again:
            say(f"{self.output} holds an unfinished run, which starts again")
            (self.output / "metrics.jsonl").unlink(missing_ok=True)
        folder.write_config(self.output, self.config)
        environment = folder.environment(self.strategy.chosen, self.strategy.processes)
        folder.write_json(self.output / "environment.json", environment)

    def go(self, starts_again: bool) -> None:
        """Train, measure, and write it all down."""
        self._tell(self.strategy.chosen)
        self.strategy.barrier()  # all have looked at the folder before the first process writes there
        if self.strategy.is_main:
            self._open_folder(starts_again)
        bare, parts = self.job.model, self.job.parts
        model, optimizer = self.strategy.prepare(
            bare, lambda moved: make_optimizer(moved, self.config.training.weight_decay)
        )
        rows = TrainingRows(self.tokens, parts.train.labels.codes, self.layout, self.job.pad_id)
        if self.layout == "bucketed":
            self.strategy.announce(self._programs(rows))

        def keep() -> None:
            state = self.strategy.host_state(model)
            if self.strategy.is_main:
                save(self.output / "model", bare, state, self.job.tokenizer)

        outcome = fit(
            model,
            optimizer,
            rows,
            self.config,
            self.strategy,
            measure=(lambda step: self._validate(model, step)) if parts.validation else None,
            keep=keep,
            record=self._record,
        )
        self.strategy.barrier()  # the model is on disk
        results: dict[str, Any] = {"training": {"rows": len(parts.train), **asdict(outcome)}}
        if not self.strategy.sharded:
            digest = self.strategy.check_equal(model)
            results["training"]["weights_at_the_end"] = digest
            if self.strategy.processes > 1:
                self._tell(f"all {self.strategy.processes} ended with the same weights ({digest})")
        if self.best:
            results["validation"] = self.best.metrics
        if parts.test and self.test_tokens:
            results["test"] = self._test(parts.test, self.test_tokens)
        results |= {"hardware": counts} if (counts := self.strategy.counts()) else {}
        if self.strategy.is_main:
            folder.write_json(self.output / "metrics.json", results)
        self.strategy.barrier()  # nobody leaves while another still speaks

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
        better = self.best is None or measured.score > self.best.score
        if better:
            self.best = measured
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
