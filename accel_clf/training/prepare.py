"""What a run needs that no hardware changes: rows, tokenizer, tokens, weights; made once, before any core starts."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import nn

from accel_clf.config.schema import Config
from accel_clf.core.console import log
from accel_clf.core.process_env import is_main_process
from accel_clf.data import splits
from accel_clf.data.dataset import Dataset
from accel_clf.data.splits import Splits
from accel_clf.data.tokenization import TokenizedDataset, tokenize
from accel_clf.models.checks import check_fits
from accel_clf.models.loading import load_model, load_tokenizer, trained_labels
from accel_clf.targets.metrics import extra_metrics
from accel_clf.training.batches import TrainingRows


@dataclass(frozen=True)
class PreparedRun:
    """A run before it meets the hardware.

    Attributes:
        config: its settings.
        parts: its rows.
        tokenizer: the model's.
        tokens: of each part that has rows, by name.
    """

    config: Config
    parts: Splits
    tokenizer: Any
    tokens: dict[str, TokenizedDataset]

    @property
    def pad_id(self) -> int:
        return self.tokenizer.pad_token_id or 0

    def digests(self) -> dict[str, str]:
        """What the rows are, by part: texts and labels in their order."""
        return {f"{part} rows": rows.digest() if rows else "" for part, rows in self.parts._asdict().items()}

    def training_rows(self, layout: str) -> TrainingRows:
        train = self.parts.train
        return TrainingRows(self.tokens["train"], train.labels.codes, train.ids, layout, self.pad_id)

    def load_model(self) -> nn.Module:
        """The model that training starts with, on the host; strategies that share it among cores train copies."""
        config = self.config
        names, length = self.parts.train.label_names, config.data.max_length
        return load_model(config.model, names, self.tokenizer, length, config.training.seed)


def read_splits(config: Config) -> Splits:
    """The rows.

    Raises:
        DataError: any of them cannot be used.
    """
    found = splits.load(config.data, config.training.seed)
    trained = trained_labels(config.model)
    if trained and trained != found.train.label_names and set(trained) == set(found.train.label_names):
        # The model is a classifier for these labels already: their order gives its outputs their meaning.
        return splits.load(config.data, config.training.seed, trained)
    return found


def prepare_run(config: Config, found: Splits, quiet: bool = False) -> tuple[PreparedRun, nn.Module]:
    """Load the model and tokenize the rows. Of several processes one tokenizes, the others find it in the cache.

    Args:
        config: the settings.
        found: the rows, by `read`.
        quiet: whether to keep what there is to say to oneself.

    Raises:
        UserError: whatever the user can mend.
    """

    def tell(line: str) -> None:
        if speaks:
            log(line)

    speaks = is_main_process() and not quiet
    length = config.data.max_length
    names = found.train.label_names
    counts = {part: len(rows) if rows else 0 for part, rows in found._asdict().items()}
    for warning in splits.warnings(found):
        tell(f"warning: {warning}")
    tell(
        f"{config.model.name} on {config.data.train}: {counts['train']} training, {counts['validation']} validation "
        f"and {counts['test']} test rows; {len(names)} labels"
    )
    job = PreparedRun(config, found, load_tokenizer(config.model, found.train, length), {})
    model = job.load_model()
    check_fits(model, config.model.name, largest_token=0, max_length=length)
    extra_metrics(config.evaluation.metrics, np.arange(len(names)), np.arange(len(names)))

    def tokens_of(rows: Dataset) -> TokenizedDataset:
        tokens = tokenize(rows, job.tokenizer, length, show_progress=speaks)
        check_fits(model, config.model.name, tokens.largest, length)
        return tokens

    job = replace(job, tokens={part: tokens_of(rows) for part, rows in found._asdict().items() if rows})
    cut = int((job.tokens["train"].lengths == length).sum())
    if cut:
        tell(f"{cut} of {counts['train']} training rows reach {length} tokens, where they are cut (data.max_length)")
    return job, model
