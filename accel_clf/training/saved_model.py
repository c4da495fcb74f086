"""The best model of a run, in its folder: written, fitted to the validation rows, read back and evaluated."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from accel_clf.core.console import log
from accel_clf.core.files import write_json
from accel_clf.data.dataset import Dataset
from accel_clf.inference.evaluate import evaluate
from accel_clf.inference.forward import answer_logits
from accel_clf.models import lora
from accel_clf.models.head import KEPT_BESIDE, last_linear, rescaled
from accel_clf.models.kernel_selection import apply_layout
from accel_clf.models.loading import load_trained, save
from accel_clf.models.windows import pool_windows
from accel_clf.run_folder.examples import chosen_rows, write_examples
from accel_clf.run_folder.layout import ADAPTER, TEMPERATURES
from accel_clf.run_folder.predictions import (
    PREDICTION_FILES,
    SLICES,
    VALIDATION,
    slice_column,
    write_predictions,
    write_slices,
)
from accel_clf.strategies.base import Strategy
from accel_clf.targets.base import Target
from accel_clf.targets.fitting import Fitted, cross_fit, random_parts
from accel_clf.targets.objective import NO_RESCALING, Rescaling
from accel_clf.targets.registry import of_model, options_of
from accel_clf.training.prepare import PreparedRun


class SavedModel:
    """The best model of a run, in its folder.

    Args:
        prepared: the run.
        model: on the host, as it was loaded: still without a layout.
        strategy: the hardware.
        frozen_digest: of the weights that are not trained.

    Attributes:
        rescaling: of the outputs of the model that is trained, to those of the one that is saved.
        examples: split -> rows of it that a report opens.
    """

    def __init__(self, prepared: PreparedRun, model: nn.Module, strategy: Strategy, frozen_digest: str = "") -> None:
        self.frozen_digest = frozen_digest
        self.prepared, self.model, self.strategy = prepared, model, strategy
        self.config, self.folder = prepared.config, Path(prepared.config.output) / "model"
        self.adapter = self.folder.with_name(ADAPTER)
        self.examples: dict[str, Dataset] = {}
        self.target, self.rescaling = prepared.splits.train.target, prepared.objective.rescaling
        is_rescaled = self.rescaling != NO_RESCALING or self.config.target.calibration != "none"
        self._head = last_linear(model) if is_rescaled else None

    def write(self, weights: dict[str, torch.Tensor]) -> None:
        """Write the model.

        Args:
            weights: of the model that is trained, on the host.
        """
        settings = self.config.model
        if settings.lora.rank is None:
            return self._write(weights, self.target, self.rescaling)
        adapter = lora.adapter_of(self.model, weights)
        self._write(lora.merged(weights, settings.lora), self.target, self.rescaling)
        self._write_adapter(adapter, self.rescaling)

    def _write_adapter(self, adapter: dict[str, torch.Tensor], rescaling: Rescaling) -> None:
        """Write the adapter; outputs that are rescaled beside the head are the merged model's alone."""
        scaled = rescaled(adapter, self._head, rescaling) or adapter
        lora.save_adapter(self.adapter, self.model, scaled, self.config.model, self.frozen_digest)

    def _write(self, weights: dict[str, torch.Tensor], target: Target, rescaling: Rescaling) -> None:
        options, scaled = options_of(target), rescaled(weights, self._head, rescaling)
        if scaled is None:
            options = {"type": target.kind, **options, KEPT_BESIDE: list(rescaling)}
            log(
                "the head does not end in a linear layer: what its outputs are scaled by is in config.json, beside them"
            )
        save(self.folder, self.model, scaled or weights, self.prepared.tokenizer, options)

    def logits(self, model: nn.Module, split: str, layout: str) -> np.ndarray:
        """Compute a model's outputs for the rows of a split: float32 [rows, outputs].

        Args:
            model: as the strategy prepared it.
            split: "validation", "test", "held_out" or "calibration".
            layout: of the batches.
        """
        return answer_logits(
            model,
            self.prepared.tokens[split],
            self.strategy,
            self.target,
            size=self.config.batch.evaluation_size,
            layout=layout,
            max_length=self.config.data.max_length,
            padding=self.prepared.padding,
        )

    def fit_to_validation(self, layout: str, logits: np.ndarray | None, *, are_known: bool) -> dict[str, Any]:
        """Fit what the settings ask for to the validation rows, and save the model with it. Write its predictions.

        These rows have chosen the best model, too: what metrics.json tells of them is cross-fitted.

        Args:
            layout: of the batches.
            logits: the best model's, on rank 0, where they are known.
            are_known: whether they are: the best model is not one of before the run was resumed.

        Returns:
            What metrics.json has of it.
        """
        settings, rows = self.config.target, self.prepared.splits.validation
        temperature, thresholds = settings.calibration == "temperature", settings.thresholds == "f1"
        if rows is None:
            return {}
        is_fitted = temperature or thresholds
        if is_fitted or not are_known:
            model, weights = self._load(layout)
            logits = self.logits(self.strategy.prepare_for_evaluation(model), "validation", layout)
        if not is_fitted:
            if self.strategy.is_main:
                assert logits is not None, "known, or just computed"
                self._write_validation(logits)
            return {}
        results: dict[str, Any] = {}
        if self.strategy.is_main:
            assert logits is not None, "just computed"
            parts = random_parts(len(rows), self.config.training.seed)
            fitted = cross_fit(
                rows.target,
                logits,
                rows.labels,
                parts,
                temperature=temperature,
                thresholds=thresholds,
                loss=settings.loss,
            )
            metrics = evaluate(fitted.scores, rows, self.config.evaluation, fitted.decided).metrics
            results["validation"] = metrics.to_json()
            self._write_validation(logits, fitted, parts)
            if temperature:
                results["calibration"] = fitted.to_json()
                log(f"temperature {fitted.temperature:.3f}, fitted to the validation rows, which chose the model, too")
            self._write(weights, fitted.target, Rescaling(1 / fitted.temperature))
            if self.config.model.lora.rank is not None:
                self._write_adapter(lora.read_adapter(self.adapter), Rescaling(1 / fitted.temperature))
        self.strategy.barrier()  # the model is on disk
        return results

    def _write_validation(
        self, logits: np.ndarray, fitted: Fitted | None = None, parts: np.ndarray | None = None
    ) -> None:
        """Write the predictions for the validation rows, before a temperature, and what they are divided by for it."""
        rows = self.prepared.splits.validation
        assert rows, "only called with validation rows"
        target = fitted.target if fitted else rows.target
        scores = fitted.scores if fitted else target.scores(logits)
        decided = fitted.decided if fitted else target.decide(scores)
        columns: dict[str, Iterable[Any]] = {}
        if fitted and parts is not None:
            columns["part"] = parts.tolist()
            write_json(self.folder.with_name(TEMPERATURES), fitted.temperatures)
        write_predictions(self.folder.with_name(VALIDATION), rows, logits, columns | slice_column(rows), decided)
        self._choose("validation", replace(rows, target=target), scores, decided)

    def _choose(self, split: str, rows: Dataset, scores: np.ndarray, decided: np.ndarray) -> None:
        self.examples[split] = rows.take(chosen_rows(rows.target, rows.labels, scores, decided))

    def write_examples(self) -> None:
        """Write the texts that a report opens; of a fold the cross-validation has them."""
        if self.examples and self.prepared.splits.held_out is None:
            write_examples(self.folder.parent, self.examples)

    def evaluate(self, layout: str) -> dict[str, Any]:
        """Evaluate the model, read back: what is measured is what the user has. Write its predictions.

        Args:
            layout: of the batches.

        Returns:
            What metrics.json has of it: split -> metrics.
        """
        splits = {split: rows for split in PREDICTION_FILES if (rows := getattr(self.prepared.splits, split))}
        if not splits:
            return {}
        saved, _ = self._load(layout)
        target: Target = of_model(saved.config)
        model = self.strategy.prepare_for_evaluation(saved)
        results = {}
        for split, rows in splits.items():
            logits = self.logits(model, split, layout)
            if self.strategy.is_main:
                rows = replace(rows, target=target)
                if split != "calibration":  # which is for abstaining, not for measuring
                    scores = target.scores(logits)
                    decided = target.decide(scores)
                    metrics = evaluate(scores, rows, self.config.evaluation, decided).metrics
                    results[split] = metrics.to_json()
                    self._choose(split, rows, scores, decided)
                    if rows.slices and split == "test":
                        write_slices(self.folder.with_name(SLICES), rows)
                write_predictions(self.folder.parent / PREDICTION_FILES[split], rows, logits)
        return results

    def _load(self, layout: str) -> tuple[nn.Module, dict[str, torch.Tensor]]:
        """Read the model back; return it in a layout, and its weights."""
        saved = load_trained(self.folder, self.config.model)[0]
        pool_windows(saved, self.config.data.windows, self.folder)
        weights = saved.state_dict()
        apply_layout(saved, layout, is_requested=True, kernels=self.config.model.kernels)
        return saved, weights
