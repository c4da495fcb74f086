"""What a run needs that no hardware changes: rows, tokenizer, weights, tokens; made once, before any core starts."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from accel_clf.config import Config
from accel_clf.console import say
from accel_clf.data import parts
from accel_clf.data.parts import Parts
from accel_clf.data.sources import Rows
from accel_clf.data.tokens import Tokens, encode
from accel_clf.metrics import further
from accel_clf.model import check_fits, load_model, load_tokenizer, trained_labels
from accel_clf.process import is_first_process


@dataclass(frozen=True)
class Job:
    """A run before it meets the hardware.

    Attributes:
        config: its settings.
        parts: its rows.
        tokenizer: the model's.
        model: on the host. Strategies whose cores share a process train copies, others the thing itself.
        tokens: of the training, validation and test rows; None where there are none.
    """

    config: Config
    parts: Parts
    tokenizer: Any
    model: nn.Module
    tokens: tuple[Tokens, Tokens | None, Tokens | None]

    @property
    def pad_id(self) -> int:
        return self.tokenizer.pad_token_id or 0

    def digests(self) -> dict[str, str]:
        """What the rows are, by part: texts and labels in their order."""
        return {f"{part} rows": rows.digest() if rows else "" for part, rows in self.parts._asdict().items()}


def prepare(config: Config, quiet: bool = False) -> Job:
    """Read, load, tokenize. Of several processes one tokenizes, the others find it in the cache.

    Args:
        config: the settings.
        quiet: whether to keep what there is to say to oneself.

    Raises:
        UserError: whatever the user can mend.
    """

    def tell(line: str) -> None:
        if speaks:
            say(line)

    speaks = is_first_process() and not quiet
    length = config.data.max_length
    found = parts.load(config.data, config.training.seed)
    trained = trained_labels(config.model)
    if trained and trained != found.train.label_names and set(trained) == set(found.train.label_names):
        # The model is a classifier for these labels already: their order gives its outputs their meaning.
        found = parts.load(config.data, config.training.seed, trained)
    names = found.train.label_names
    train, validation, test = (len(rows) if rows else 0 for rows in found)
    for warning in parts.warnings(found):
        tell(f"warning: {warning}")
    what = f"{config.model.name} on {config.data.train}"
    tell(f"{what}: {train} training, {validation} validation and {test} test rows; {len(names)} labels")
    tokenizer = load_tokenizer(config.model, found.train, length)
    model = load_model(config.model, names, tokenizer, length, config.training.seed)
    check_fits(model, config.model.name, largest_token=0, max_length=length)
    further(config.evaluation.metrics, np.arange(len(names)), np.arange(len(names)))

    def tokens_of(rows: Rows) -> Tokens:
        tokens = encode(rows, tokenizer, length, shown=speaks)
        check_fits(model, config.model.name, tokens.largest, length)
        return tokens

    tokens = tokens_of(found.train)
    cut = int((tokens.lengths == length).sum())
    if cut:
        tell(f"{cut} of {train} training rows reach {length} tokens, where they are cut (data.max_length)")
    others = (tokens_of(rows) if rows else None for rows in (found.validation, found.test))
    return Job(config, found, tokenizer, model, (tokens, *others))  # type: ignore[arg-type]
