"""One loaded run that answers texts from many threads: tokens are made in the callers' threads, answers in one."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit, softmax
from tokenizers import Tokenizer

from accel_clf.config.schema import ServeConfig
from accel_clf.data.sources import check_text
from accel_clf.run_folder.environment import versions
from accel_clf.serving.batcher import Batcher
from accel_clf.serving.errors import NotFiniteError, OverloadedError, TooLongError
from accel_clf.serving.worker import Worker, batch_tokens, load

WAITING_BATCHES = 16


@dataclass(frozen=True)
class TokenizedText:
    """A text as the model gets it.

    Attributes:
        ids: int32 [tokens], special ones included.
        tokens: that the whole text has; more than in `ids` if it was cut.
    """

    ids: np.ndarray
    tokens: int

    @property
    def cut(self) -> bool:
        return self.tokens > len(self.ids)


class Service:
    """A run, or a cross-validation's ensemble, ready to answer.

    Args:
        run: the folder.
        settings: of the server.

    Attributes:
        labels: the label names, in the order of the scores' columns.
        models: how many.
        model_name: of the encoder that they were made from.
        text_column: that the training rows' texts stood in.
        precision: that matrix products have.
        max_length: tokens a text may have, special ones included.
        device: that computes.
        in_work: requests that have been admitted and not answered.

    Raises:
        ConfigError: the folder is not a trained run's; or int8 has cost more accuracy than it may.
    """

    def __init__(self, run: Path, settings: ServeConfig) -> None:
        self.settings = settings
        self._worker = Worker(load, run, settings)
        loaded = self._worker.loaded
        self.labels, self.models, self.precision, self.device = (
            loaded.labels, loaded.models, loaded.precision, loaded.device,
        )  # fmt: skip
        self._temperature = loaded.temperature
        config = loaded.config
        self.max_length, self.text_column, self.model_name = config.data.max_length, config.data.text, config.model.name
        self._tokenizer = _tokenizer_for_threads(loaded.tokenizer, self.max_length, loaded.truncation_side)
        self._tokenizing = threading.BoundedSemaphore(os.cpu_count() or 1)
        batch = batch_tokens(settings, self.device)
        self._draining = False
        self._answered_tokens, self._busy_seconds = 0, 0.0
        self._lock, self.in_flight = threading.Lock(), 0
        self.batcher = Batcher(self._answer, batch_tokens=batch, waiting_tokens=WAITING_BATCHES * batch)

    @property
    def alive(self) -> bool:
        """Whether requests can be answered at all."""
        return self.batcher.alive and self._worker.alive

    @property
    def ready(self) -> bool:
        """Whether new requests are welcome."""
        return self.alive and not self._draining

    def info(self) -> dict[str, Any]:
        """What a client may want to know: the model, and what a request may be."""
        return {
            "model": self.model_name,
            "models": self.models,
            "labels": list(self.labels),
            "max_length": self.max_length,
            "precision": self.precision,
            "device": self.device,
            "temperature": self._temperature,
            "versions": versions(),
            "limits": self.settings.model_dump(
                include={"max_texts", "max_megabytes", "max_file_megabytes", "queue", "timeout"}
            ),
        }

    def drain(self) -> None:
        """Say from here on that others should be asked; requests that come nevertheless are answered."""
        self._draining = True

    def close(self, seconds: float) -> bool:
        """End the thread that computes when what waits is answered; whether that was in time."""
        self._draining = True
        in_time = self.batcher.close(seconds)
        self._worker.close()
        return in_time

    @property
    def full(self) -> bool:
        """Whether a request would not be admitted."""
        return self.in_flight >= self.settings.queue or self.batcher.full

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Within it, a request is one of the `queue` that may be in work.

        Raises:
            OverloadedError: so many are already, or they wait with more tokens than may wait.
        """
        with self._lock:
            if self.full:
                raise OverloadedError
            self.in_flight += 1
        try:
            yield
        finally:
            with self._lock:
                self.in_flight -= 1

    def encode(self, texts: Sequence[str], truncate: bool = True) -> list[TokenizedText]:
        """The tokens of texts, the same as evaluation's.

        Raises:
            TooLongError: a text is too long, and must not be cut.
            DataError: a text holds a lone surrogate.
        """
        for place, text in enumerate(texts):
            check_text(text, f"inputs[{place}]")
        found = []
        with self._tokenizing:  # what it makes of a text on the way takes a hundred times its memory
            encodings = self._tokenizer.encode_batch_fast(list(texts))
        for place, encoding in enumerate(encodings):
            tokens = len(encoding.ids)
            if encoding.overflowing:
                special = sum(encoding.special_tokens_mask)
                tokens += sum(len(rest.ids) - special for rest in encoding.overflowing)
                if not truncate:
                    raise TooLongError(place, tokens, self.max_length)
            found.append(TokenizedText(np.array(encoding.ids, np.int32), tokens))
        return found

    def part_read(self, text: str) -> slice:
        """Where in a text the part is that the model reads.

        Raises:
            DataError: the text holds a lone surrogate.
        """
        check_text(text, "inputs")
        with self._tokenizing:
            encoding = self._tokenizer.encode(text)
        if not encoding.overflowing:
            return slice(0, len(text))
        tokens = zip(encoding.offsets, encoding.special_tokens_mask, strict=True)
        starts, ends = zip(*(bounds for bounds, special in tokens if not special), strict=True)
        return slice(min(starts), max(ends))

    def scores(
        self, rows: Sequence[TokenizedText], gone: Callable[[], bool] = lambda: False, function: str = "softmax"
    ) -> np.ndarray:
        """What the model says of texts, the mean over an ensemble's models: float64 [rows, classes].

        Args:
            rows: the texts.
            gone: whether nobody wants the answer any more.
            function: applied to the logits: softmax, sigmoid, or none.

        Raises:
            OverloadedError, RequestTimeoutError, ClientDisconnectedError, ShuttingDownError: see Batcher.ask.
            NotFiniteError: the model is broken.
        """
        if not rows:
            return np.empty((0, len(self.labels)))
        answers = self.batcher.ask([row.ids for row in rows], self.settings.timeout, gone)
        each = np.stack(answers).astype(np.float64) / self._temperature
        if function == "softmax":
            each = softmax(each, axis=-1)
        elif function == "sigmoid":
            each = expit(each)
        found: np.ndarray = each.mean(axis=1)
        if not np.isfinite(found).all():
            raise NotFiniteError
        return found

    def scores_patiently(self, rows: Sequence[TokenizedText], gone: Callable[[], bool]) -> np.ndarray:
        """As `scores`, but where others are told to come again, it does: for the parts of a large work."""
        until = time.monotonic() + self.settings.timeout
        while True:
            try:
                with self.admitted():
                    return self.scores(rows, gone)
            except OverloadedError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.05)

    @property
    def seconds_to_wait(self) -> int:
        """After which a request that was refused may come again: when what waits now has been answered."""
        speed = self._answered_tokens / self._busy_seconds if self._busy_seconds else 1000.0
        return max(1, round(self.batcher.queued / speed))

    def _answer(self, rows: Sequence[np.ndarray]) -> np.ndarray:
        began = time.perf_counter()
        found = self._worker.logits_batch(rows)
        self._busy_seconds += time.perf_counter() - began
        self._answered_tokens += sum(map(len, rows))
        return found


def _tokenizer_for_threads(tokenizer: str, max_length: int, truncation_side: str) -> Tokenizer:
    """A tokenizer that any number of threads may use: nothing changes its state from here on."""
    own = Tokenizer.from_str(tokenizer)
    own.no_padding()
    own.enable_truncation(max_length, direction=truncation_side)
    return own
