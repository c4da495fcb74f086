"""A run in progress: training, validation, checkpoints, and the best model saved."""

import json
from collections.abc import Set
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from accel_clf.core.console import log
from accel_clf.core.errors import Interrupted, UserError
from accel_clf.core.files import write_json
from accel_clf.core.memory import release_free_memory
from accel_clf.inference.evaluate import EvalResult, evaluate
from accel_clf.models.equal_lengths import check_hardware
from accel_clf.models.freezing import digest_of, frozen_names
from accel_clf.models.kernel_selection import apply_layout
from accel_clf.run_folder import layout
from accel_clf.run_folder.environment import describe_environment, versions
from accel_clf.strategies.base import CompiledGraph, Strategy
from accel_clf.targets.label_names import listed
from accel_clf.targets.metrics import Metrics
from accel_clf.training import checkpoint, precompile, resume
from accel_clf.training.batches import count_steps_per_epoch, example_batch
from accel_clf.training.checkpoint import Writer
from accel_clf.training.data_facts import write_data_facts
from accel_clf.training.loop import fit
from accel_clf.training.optim import optimizer_for
from accel_clf.training.resume import InitialState
from accel_clf.training.saved_model import SavedModel
from accel_clf.training.shared_folder import check_shared
from accel_clf.training.state import TrainState


class Trainer:
    """A run in progress on one process or core.

    Args:
        initial: where it begins; the model's weights may be trained in place.
        strategy: the hardware.
        other_graphs: that other runs in this process will need.
    """

    def __init__(
        self, initial: InitialState, strategy: Strategy, other_graphs: Set[CompiledGraph] = frozenset()
    ) -> None:
        self.prepared, self.model, self.checkpoint, self.is_unfinished = initial
        self.config, self.strategy, self.other_graphs = self.prepared.config, strategy, other_graphs
        self.output = Path(self.config.output)
        self.frozen = frozen_names(self.model, self.config.model)
        self.frozen_digest = digest_of(self.model, self.frozen) if self.frozen else ""
        self.saved = SavedModel(self.prepared, self.model, strategy, self.frozen_digest)
        self.layout, self.layout_reason = apply_layout(
            self.model,
            strategy.layout_for(self.config),
            is_requested=self.config.batch.layout != "auto",
            kernels=self.config.model.kernels,
        )
        check_hardware(
            self.model,
            self.config.model.name,
            is_compiled=strategy.compiler is not None,
            is_sharded=strategy.sharded,
        )
        peak_lr = resume.peak_lr(self.checkpoint, self.config, strategy.processes)
        self.state, self.best = TrainState(peak_lr), None
        self.best_logits: np.ndarray | None = None  # for the validation rows, on rank 0
        if self.checkpoint:
            self.state = TrainState.from_json({**self.checkpoint.state["progress"], "peak": peak_lr})
            self.best = _best_from_json(self.checkpoint.state["best"])
        self.first_step = self.state.step

    def run(self) -> tuple[nn.Module, torch.optim.Optimizer]:
        """Train, evaluate and save; return model and optimizer as the strategy has prepared them."""
        strategy = self.strategy
        self._log(f"{strategy.description}; {self.layout} batches ({self.layout_reason})")
        steps = strategy.gather(torch.tensor([self.state.step])).tolist()
        if len(set(steps)) > 1:
            raise UserError(
                f"the processes would resume after different steps: {sorted(set(steps))}",
                "one output folder that all machines share",
                "put --output on a shared disk",
            )
        check_shared(self.output, strategy)
        if self.checkpoint:
            resume.check_rows_per_step(self.checkpoint, self.config, strategy.processes)
        if strategy.is_main:  # all have read the folder
            self._open_folder()
        model, optimizer = strategy.prepare(
            self.model,
            optimizer_for(self.config.training),
            example_batch(self.prepared.training_rows(self.layout), self.config),
        )
        if self.checkpoint:
            strategy.restore_optimizer_state(model, optimizer, self.checkpoint.optimizer_state())
            strategy.restore_scaler(self.checkpoint.state["scaler"])
        if strategy.compiler and self.layout == "bucketed":
            graphs = precompile.graphs_of_run(self.prepared, strategy.processes)
            strategy.compiler.register_graphs(graphs | self.other_graphs)
        with Writer(resume.checkpoints_folder(self.config), self.config.checkpoint.keep) as writer:
            try:
                self._fit(model, optimizer, writer)
                writer.wait()
                strategy.barrier()  # the model is on disk
                results = self._results(model)
            except Interrupted:
                writer.wait()
                self._log(f"stopped after step {self.state.step}, whose state is saved in {writer.folder}")
                strategy.barrier()  # a launcher whose process has ended ends the others
                raise
        if strategy.is_main:
            write_json(self.output / "metrics.json", results)
        strategy.barrier()  # no process ends while another still needs it
        return model, optimizer

    def _log(self, line: str) -> None:
        if self.strategy.is_main:
            log(line)

    def _log_metrics(self, line: dict[str, Any]) -> None:
        if self.strategy.is_main:
            with (self.output / "metrics.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, allow_nan=False) + "\n")

    def _open_folder(self) -> None:
        self.output.mkdir(parents=True, exist_ok=True)
        checkpoints = resume.checkpoints_folder(self.config)
        checkpoint.remove_unfinished(checkpoints)
        if self.checkpoint:
            log(f"resuming after step {self.state.step}, from {self.checkpoint.folder}")
            if self.checkpoint.folder.resolve().parent != checkpoints.resolve():
                checkpoint.copy_into(self.checkpoint, checkpoints)
            if weights := self.checkpoint.best_weights():  # the folder's may be of a later best model
                self.saved.write(resume.with_frozen(weights, self.model, self.config))
        elif self.is_unfinished:
            log(f"{self.output} holds an unfinished run without a checkpoint, which starts from the beginning")
        layout.truncate_log(self.output, self.state.step)
        layout.write_config(self.output, self.config)
        processes, rows = self.strategy.processes, self.prepared.training_rows(self.layout)
        total = self.config.training.epochs * count_steps_per_epoch(rows, self.config, processes)
        environment = describe_environment(self.strategy.description, processes, self.state.step, total)
        write_json(self.output / "environment.json", environment)
        if self.prepared.splits.held_out is None:  # of a fold the cross-validation says it
            write_data_facts(self.output, self.prepared)

    def _fit(self, model: nn.Module, optimizer: torch.optim.Optimizer, writer: Writer) -> None:
        strategy = self.strategy
        constant: dict[str, Any] = {}  # the same in all checkpoints
        if strategy.is_main:
            constant = {
                "rows_per_step": self.config.batch.rows_per_step(strategy.processes),
                "data": self.prepared.digests(),
                "config": self.config.model_dump(mode="json"),
                "versions": versions(),
            }
            if self.frozen:
                constant[resume.FROZEN] = self.frozen_digest

        def save_best() -> None:
            weights = self._gather_weights(model)
            if strategy.is_main:
                self.saved.write(weights)

        def save_checkpoint() -> None:
            release_free_memory()
            weights = self._gather_trained(model)
            optimizer_state = strategy.gather_optimizer_state(model, optimizer)
            if strategy.is_main:
                current = {
                    "progress": self.state.to_json(),
                    "best": _best_to_json(self.best),
                    "scaler": strategy.scaler_state(),
                }
                writer.write(current | constant, weights, optimizer_state)

        try:
            fit(
                model,
                optimizer,
                self.prepared.training_rows(self.layout),
                self.config,
                strategy,
                state=self.state,
                evaluate=(lambda step: self._validate(model, step)) if self.prepared.splits.validation else None,
                save_best=save_best,
                save_checkpoint=save_checkpoint,
                log_metrics=self._log_metrics,
            )
        except torch.OutOfMemoryError as error:
            raise self._out_of_memory() from error

    def _gather_weights(self, model: nn.Module) -> dict[str, torch.Tensor]:
        """Copy all weights to the host, as Strategy.gather_weights does; those that are not trained may be there."""
        are_here = not self.strategy.sharded and all(weight.device.type == "cpu" for weight in self.model.parameters())
        if not (self.frozen and are_here):
            return self.strategy.gather_weights(model)
        trained = self._gather_trained(model)
        return resume.with_frozen(trained, self.model, self.config) if trained else {}

    def _gather_trained(self, model: nn.Module) -> dict[str, torch.Tensor]:
        """Copy what is trained to the host, as Strategy.gather_weights does with all weights."""
        if not self.frozen:
            return self.strategy.gather_weights(model)
        weights = {name.removeprefix("module."): tensor for name, tensor in model.state_dict().items()}
        return self.strategy.gather_to_host({name: weights[name] for name in weights if name not in self.frozen})

    def _out_of_memory(self) -> UserError:
        size, accumulate = self.config.batch.size, self.config.batch.accumulate
        fix = "a smaller encoder or data.max_length"
        if size > 1:
            divisor = next(divisor for divisor in range(2, size + 1) if size % divisor == 0)
            fix = f"--batch.size {size // divisor} --batch.accumulate {accumulate * divisor}, with the same result"
        return UserError(
            f"the device's memory is full, at step {self.state.step + 1} with batches of {size} rows",
            fix=f"{fix}; the last checkpoint is intact, and the run resumes from it",
        )

    def _validate(self, model: nn.Module, step: int) -> bool:
        """Evaluate on the validation rows; return whether the model is the best so far, on rank 0."""
        rows = self.prepared.splits.validation
        assert rows, "only called with validation rows"
        rescaling = self.saved.rescaling
        logits = self.saved.logits(model, "validation", self.layout) * rescaling.scale + rescaling.shift
        if not self.strategy.is_main:
            return False
        result = evaluate(rows.target.scores(logits), rows, self.config.evaluation)
        values = result.metrics.values
        defined = {name: value for name, value in values.items() if not isnan(value)}  # NaN is no JSON
        self._log_metrics({"event": "validation", "step": step, **defined})
        self._log(f"step {step}: " + "  ".join(f"{name} {value:.4f}" for name, value in values.items()))
        improved = self.best is None or result.score > self.best.score
        if improved:
            self.best, self.best_logits = result, logits
        return improved

    def _results(self, model: nn.Module) -> dict[str, Any]:
        state = self.state
        training: dict[str, Any] = {
            "rows": len(self.prepared.splits.train),
            "steps": state.step,
            "best_step": state.best_step,
            "seconds": state.seconds,
            "stopped_early": state.stopped_early,
        }
        if not self.strategy.sharded:
            digest = self.strategy.check_equal(model)
            training["weights_at_the_end"] = digest
            if self.strategy.processes > 1:
                self._log(f"all {self.strategy.processes} ended with the same weights ({digest})")
        release_free_memory()
        results: dict[str, Any] = {"training": training}
        if self.best:
            results["validation"] = self.best.metrics.to_json()
        are_known = state.best_step > self.first_step
        results |= self.saved.fit_to_validation(self.layout, self.best_logits, are_known=are_known)
        if self.best and (missed := Metrics.from_json(results["validation"]).never_predicted()):
            names = listed(missed)
            self._log(f"warning: the best model never predicts {names}, which validation rows have as their label")
        results |= self.saved.evaluate(self.layout)
        self.saved.write_examples()
        if self.strategy.compiler:
            results["hardware"] = self.strategy.compiler.counts()
        return results


def _best_to_json(best: EvalResult | None) -> dict[str, Any] | None:
    return {"score": best.score, "metrics": best.metrics.to_json()} if best else None


def _best_from_json(content: dict[str, Any] | None) -> EvalResult | None:
    return EvalResult(Metrics.from_json(content["metrics"]), content["score"]) if content else None
