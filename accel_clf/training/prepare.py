"""What a run needs that no hardware changes: rows, tokenizer, tokens, weights; made once, before any core starts."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from torch import nn

from accel_clf.config.schema import Config
from accel_clf.core.console import log
from accel_clf.core.errors import ConfigError
from accel_clf.core.process_env import is_main_process
from accel_clf.data import splits
from accel_clf.data.collate import Padding, make_inputs
from accel_clf.data.dataset import Dataset
from accel_clf.data.sources import is_file
from accel_clf.data.splits import Splits
from accel_clf.data.tokenization import TokenizedDataset, describe_nothing, tokenize
from accel_clf.data.tokenizers import PYTHON_TOKENIZER, is_fast
from accel_clf.data.windows import describe_cut
from accel_clf.models.checks import check_answers, check_fits, trained_positions
from accel_clf.models.freezing import choose_trained, describe, frozen_names
from accel_clf.models.loading import load_model, load_tokenizer, saved_label_names
from accel_clf.models.padding import padding_of
from accel_clf.models.pairs import check_pairs, takes_types
from accel_clf.models.windows import pool_windows
from accel_clf.targets import registry
from accel_clf.targets.base import Target
from accel_clf.targets.few_rows import few_rows_hint
from accel_clf.targets.modules import module_metrics
from accel_clf.targets.objective import Objective
from accel_clf.training.batches import TrainingRows


@dataclass(frozen=True)
class PreparedRun:
    """A run before it meets the hardware.

    Attributes:
        config: its settings.
        splits: its rows.
        tokenizer: the model's.
        padding: of the model's rows.
        tokens: split name -> tokens, for each split that has rows.
        warnings: of what is suspicious about the rows; of several processes the main one has them.
    """

    config: Config
    splits: Splits
    tokenizer: Any
    padding: Padding
    tokens: dict[str, TokenizedDataset]
    warnings: tuple[str, ...] = ()

    def digests(self) -> dict[str, str]:
        """Digest the rows of each split: texts and labels in their order."""
        return {f"{split} rows": rows.digest() if rows else "" for split, rows in self.splits._asdict().items()}

    def training_rows(self, layout: str) -> TrainingRows:
        """Return the rows to train on, for batches of a layout."""
        tokens, ids = self.tokens["train"].in_both_orders(), self.splits.train.ids
        ids = np.tile(ids, len(tokens) // len(ids))
        return TrainingRows(tokens, self.objective, ids, layout, self.padding)

    @cached_property
    def objective(self) -> Objective:
        """What the model is trained towards, by its own training rows."""
        rows = self.splits.train
        labels = np.concatenate([rows.labels] * (2 if rows.is_symmetric else 1))
        return rows.target.objective(self.config.target, labels)

    def load_model(self) -> nn.Module:
        """Load the model that training starts with, on the host; strategies that share it among cores train copies."""
        config = self.config
        target, length = self.splits.train.target, config.data.max_length
        model = load_model(
            config.model,
            target,
            self.tokenizer,
            length,
            config.training.seed,
            self.objective,
            is_probed=config.training.method == "lp_ft",
        )
        choose_trained(model, config.model, config.training.seed)
        pool_windows(model, config.data.windows)
        return model


def read_splits(config: Config, with_folds: bool = False) -> Splits:
    """Read the rows, with labels in the order of the model's outputs, if it is a classifier for them already.

    Args:
        config: the settings.
        with_folds: whether to read the training rows' folds, too, where the settings name their column.

    Raises:
        DataError: any of them cannot be used.
    """
    rows = splits.load(config.data, config.training.seed, config.target, None, with_folds)
    saved = saved_label_names(config.model)
    names = rows.train.target.output_names
    if saved and saved != names and set(saved) == set(names) == set(rows.train.target.names):
        target = replace(rows.train.target, names=saved)
        return splits.load(config.data, config.training.seed, config.target, target, with_folds)
    return rows


def _check_settings(config: Config, target: Target) -> None:
    """Raise ConfigError where settings do not fit what is predicted, or need rows that there are not."""
    target.check_settings(config.target, config.evaluation.named_metrics)
    if config.data.symmetric and config.target.calibration == "temperature":
        raise ConfigError(
            "target.calibration is temperature, and data.symmetric",
            "one of them: a temperature inside the model would not be that of the mean of both orders",
            "a cross-validation, which fits the temperature of the mean",
        )
    if config.data.revision and (config.data.train == "demo" or is_file(config.data.train)):
        raise ConfigError(
            f"data.revision is {config.data.revision}, and data.train is {config.data.train}",
            "a data set on the Hub, which has revisions",
            "--data.revision null",
        )
    is_fitted = {
        "target.thresholds f1": config.target.thresholds == "f1",
        "target.calibration temperature": config.target.calibration == "temperature",
    }
    for setting, is_set in is_fitted.items():
        if is_set and config.data.validation is None:
            raise ConfigError(f"{setting}, and no validation rows", "rows to fit it to", "--data.validation 0.1")


def prepare_run(config: Config, rows: Splits, quiet: bool = False) -> tuple[PreparedRun, nn.Module]:
    """Load the model and tokenize the rows. Of several processes one tokenizes, the others read its cache.

    Args:
        config: the settings.
        rows: by `read_splits`.
        quiet: whether to log nothing.

    Raises:
        UserError: whatever the user can fix.
    """
    logs = is_main_process() and not quiet

    def log_line(line: str) -> None:
        if logs:
            log(line)

    target, length = rows.train.target, config.data.max_length
    reason = registry.reason(config.data, config.target, target)
    log_line(f"target: {target.describe()} ({target.kind}: {reason})")
    if config.target.type == "auto" and (question := registry.question(target)):
        log_line(f"warning: {question}")
    config = registry.with_defaults(config, type(target))
    _check_settings(config, target)
    counts = {split: len(part) if part else 0 for split, part in rows._asdict().items()}
    warnings: tuple[str, ...] = ()
    if logs:
        of_labels = target.warnings(rows.train.labels, config.target.loss, config.evaluation.metric)
        warnings = (*splits.warnings(rows, config.data), *of_labels)
        for warning in warnings:
            log_line(f"warning: {warning}")
    if hint := few_rows_hint(target, rows.train.labels, config.training):
        log_line(hint)
    calibration = f", {counts['calibration']} kept for calibration" if counts["calibration"] else ""
    log_line(
        f"{config.model.name} on {config.data.train}: {counts['train']} training, {counts['validation']} validation "
        f"and {counts['test']} test rows{calibration}; {target.describe()}"
    )
    tokenizer = load_tokenizer(config.model, rows.train, length)
    has_padding_token = tokenizer.pad_token is not None
    prepared = PreparedRun(config, rows, tokenizer, Padding(0), {}, warnings)
    model = prepared.load_model()
    prepared = replace(prepared, padding=padding_of(model, tokenizer, rows.train.has_pairs))
    if frozen_names(model, config.model):
        log_line(describe(model))
    if not has_padding_token:
        log_line(f"{config.model.name}: its tokenizer has no padding token; {tokenizer.pad_token!r} pads")
    if not is_fast(tokenizer):
        log_line(f"{config.model.name}: {PYTHON_TOKENIZER}")
    with_types = takes_types(model, tokenizer, rows.train.has_pairs)
    if rows.train.has_pairs and (hint := check_pairs(prepared.tokenizer, config.model.name, length)):
        log_line(f"warning: {hint}")
    check_fits(model, config.model.name, largest_token=0, max_length=length)
    if (trained := trained_positions(model)) and length > trained:
        log_line(f"warning: data.max_length is {length}, and {config.model.name} was made for {trained} tokens")
    if modules := config.evaluation.modules:
        labels = target.example_labels(rows.train.labels)
        module_metrics(modules, labels, labels, target.scores(np.zeros((len(labels), len(target.output_names)))))

    def tokens_of(part: Dataset) -> TokenizedDataset:
        tokens = tokenize(
            part,
            prepared.tokenizer,
            length,
            show_progress=logs,
            windows=config.data.windows,
            with_types=with_types,
        )
        check_fits(model, config.model.name, tokens.largest, length)
        return tokens

    prepared = replace(prepared, tokens={split: tokens_of(part) for split, part in rows._asdict().items() if part})
    train = prepared.tokens["train"]
    if nothing := describe_nothing(train, tokenizer, "training rows"):
        log_line(f"warning: {nothing}")
    shortest = [train[row] for row in np.resize(np.argsort(train.lengths)[:2], 2).tolist()]
    check_answers(model, config.model.name, make_inputs(shortest, "padded", prepared.padding, max_length=length))
    if cut := describe_cut(prepared.tokens["train"].lengths, config.data, "training rows"):
        log_line(cut)
    return prepared, model
