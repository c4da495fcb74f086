"""A run folder as a function from texts to labels, by the same tokens and forward as evaluation."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from accel_clf.data.tokens import Tokens, encode_texts
from accel_clf.evaluation import logits, probabilities
from accel_clf.folder import read_config
from accel_clf.model import load_trained
from accel_clf.strategies.accelerate import AccelerateStrategy

TEXTS_AT_ONCE = 2048  # sorted by length among each other; memory does not grow with the file
BATCH = 32


class Predictor:
    """A trained run.

    Attributes:
        config: the run's settings.
        labels: the label names, in the order of the probabilities' columns.

    Raises:
        ConfigError: the folder is not a trained run's.
    """

    def __init__(self, run: Path) -> None:
        self.config = read_config(run)
        self.strategy = AccelerateStrategy("fp32")  # whatever it was trained in, and wherever it is used
        model, self.tokenizer = load_trained(run / "model", self.config.model)
        names: dict[int, str] = model.config.id2label  # type: ignore[union-attr, assignment]
        self.labels = tuple(names[code] for code in range(len(names)))
        self.model = self.strategy.prepare_for_evaluation(model)

    def logits(self, tokens: Tokens, shown: bool = False) -> np.ndarray:
        """float32 [rows, classes]."""
        return logits(
            self.model,
            tokens,
            self.strategy,
            size=BATCH,
            layout="padded",
            max_length=self.config.data.max_length,
            pad_id=self.tokenizer.pad_token_id or 0,
            shown=shown,
        )

    def predict(self, texts: Iterable[str]) -> Iterator[tuple[str, Any]]:
        """Each text with its probabilities, float32 [classes], in the texts' order."""
        remaining = iter(texts)
        while some := list(islice(remaining, TEXTS_AT_ONCE)):
            tokens = encode_texts(some, self.tokenizer, self.config.data.max_length)
            yield from zip(some, probabilities(self.logits(tokens)), strict=True)
