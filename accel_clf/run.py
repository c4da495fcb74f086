"""One run, from a configuration to a run folder."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from accel_clf import baseline, folder, report
from accel_clf.config import Config
from accel_clf.console import say
from accel_clf.data import parts
from accel_clf.data.sources import Rows
from accel_clf.data.tokens import Tokens, encode
from accel_clf.errors import is_first_process
from accel_clf.evaluation import Measured, logits, measure, probabilities
from accel_clf.loop import TrainingRows, fit
from accel_clf.metrics import further
from accel_clf.model import check_fits, load_model, load_tokenizer, load_trained, save, trained_labels
from accel_clf.optim import make_optimizer
from accel_clf.strategies.accelerate import AccelerateStrategy
from accel_clf.strategies.base import Strategy

EVALUATION_ROWS = 4  # times the training batch's: without gradients there is room


def train(config: Config) -> dict[str, Any]:
    """Train as configured; the contents of the run's metrics.json (on the first process).

    Raises:
        UserError: whatever the user can mend.
    """
    output = Path(config.output)
    state = folder.state(output, config)
    if state == "finished":
        if is_first_process():
            say(f"{output} is finished; for another run choose another --output")
        finished: dict[str, Any] = json.loads((output / "metrics.json").read_text(encoding="utf-8"))
        return finished
    strategy = AccelerateStrategy(config.training.precision)
    try:
        strategy.barrier()  # all have looked at the folder before the first process writes there
        return _Run(config, output, strategy, starts_again=state == "unfinished").results()
    finally:
        strategy.close()


class _Run:
    """A run in progress on one process."""

    def __init__(self, config: Config, output: Path, strategy: Strategy, starts_again: bool) -> None:
        self.config, self.output, self.strategy = config, output, strategy
        self.length = config.data.max_length
        self.layout = strategy.layout if config.batch.layout == "auto" else config.batch.layout
        self.best: Measured | None = None
        self._tell(f"{config.model.name} on {config.data.train}: {strategy.chosen}")
        self._read()
        if strategy.is_main:
            self._open_folder(starts_again)

    def _tell(self, line: str) -> None:
        if self.strategy.is_main:
            say(line)

    def _read(self) -> None:
        """Rows, tokenizer, model, tokens; the first process makes what is cached, the others find it."""
        config = self.config
        self.parts = parts.load(config.data, config.training.seed)
        trained = trained_labels(config.model)
        if trained and trained != self.parts.train.label_names and set(trained) == set(self.parts.train.label_names):
            # The model is a classifier for these labels already: their order gives its outputs their meaning.
            self.parts = parts.load(config.data, config.training.seed, trained)
        for warning in parts.warnings(self.parts):
            self._tell(f"warning: {warning}")
        train, validation, test = (len(rows) if rows else 0 for rows in self.parts)
        names = self.parts.train.label_names
        self._tell(f"{train} training, {validation} validation and {test} test rows; {len(names)} labels")
        with self.strategy.main_first():
            self.tokenizer = load_tokenizer(config.model, self.parts.train, self.length)
            self.model = load_model(config.model, names, self.tokenizer, self.length, config.training.seed)
            check_fits(self.model, config.model.name, largest_token=0, max_length=self.length)
            self.tokens = self._encode(self.parts.train)
            self.validation_tokens = self._encode(self.parts.validation) if self.parts.validation else None
            self.test_tokens = self._encode(self.parts.test) if self.parts.test else None
        further(config.evaluation.metrics, np.arange(len(names)), np.arange(len(names)))
        self.pad_id = self.tokenizer.pad_token_id or 0
        cut = int((self.tokens.lengths == self.length).sum())
        if cut:
            self._tell(
                f"{cut} of {train} training rows reach {self.length} tokens, where they are cut (data.max_length)"
            )

    def _encode(self, rows: Rows) -> Tokens:
        tokens = encode(rows, self.tokenizer, self.length, shown=self.strategy.is_main)
        check_fits(self.model, self.config.model.name, tokens.largest, self.length)
        return tokens

    def _open_folder(self, starts_again: bool) -> None:
        self.output.mkdir(parents=True, exist_ok=True)
        if starts_again:
            say(f"{self.output} holds an unfinished run, which starts again")
            (self.output / "metrics.jsonl").unlink(missing_ok=True)
        folder.write_config(self.output, self.config)
        environment = folder.environment(self.strategy.chosen, self.strategy.processes)
        folder.write_json(self.output / "environment.json", environment)

    def results(self) -> dict[str, Any]:
        """Train, measure, and write it all down."""
        bare = self.model
        model, optimizer = self.strategy.prepare(bare, make_optimizer(bare, self.config.training.weight_decay))

        def keep() -> None:
            state = self.strategy.host_state(model)
            if self.strategy.is_main:
                save(self.output / "model", bare, state, self.tokenizer)

        outcome = fit(
            model,
            optimizer,
            TrainingRows(self.tokens, self.parts.train.labels.codes, self.layout, self.pad_id),
            self.config,
            self.strategy,
            measure=(lambda step: self._validate(model, step)) if self.parts.validation else None,
            keep=keep,
            record=self._record,
        )
        self.strategy.barrier()  # the model is on disk
        results: dict[str, Any] = {"training": {"rows": len(self.parts.train), **asdict(outcome)}}
        if self.best:
            results["validation"] = self.best.metrics
        if self.parts.test and self.test_tokens:
            results["test"] = self._test(self.parts.test, self.test_tokens)
        if self.strategy.is_main:
            folder.write_json(self.output / "metrics.json", results)
        self.strategy.barrier()  # nobody leaves while another still speaks
        if self.strategy.is_main and self.config.evaluation.baseline and self.parts.validation:
            self._add_baseline(results, self.parts.validation)
        return results

    def _add_baseline(self, results: dict[str, Any], validation: Rows) -> None:
        say("fitting TF-IDF with logistic regression on the same rows")
        try:
            results["baseline"] = {"accuracy": baseline.accuracy(self.parts.train, validation)}
        except ValueError as error:  # texts in which scikit-learn finds no word
            say(f"warning: no baseline: {str(error).splitlines()[0]}")
        folder.write_json(self.output / "metrics.json", results)

    def _record(self, line: dict[str, Any]) -> None:
        if self.strategy.is_main:
            with (self.output / "metrics.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, allow_nan=False) + "\n")

    def _logits(self, model: nn.Module, tokens: Tokens) -> Any:
        return logits(
            model,
            tokens,
            self.strategy,
            size=self.config.batch.size * EVALUATION_ROWS,
            layout=self.layout,
            max_length=self.length,
            pad_id=self.pad_id,
        )

    def _validate(self, model: nn.Module, step: int) -> bool:
        """Whether the model as it is is the best so far; the first process's answer counts."""
        rows, tokens = self.parts.validation, self.validation_tokens
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
