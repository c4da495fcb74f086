"""A loaded run that scores texts for many threads: callers tokenize in their own, one thread runs the model."""

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit, softmax

from accel_clf.config.serve_schema import ServeConfig
from accel_clf.data.texts import Text, TextColumns
from accel_clf.run_folder.environment import versions
from accel_clf.serving.batcher import BatchAnswer, Batcher
from accel_clf.serving.errors import FailedTextsError, OverloadedError
from accel_clf.serving.python_tokenizer import text_tokenizer
from accel_clf.serving.supervisor import Supervisor
from accel_clf.serving.tokenizer import TokenizedText
from accel_clf.serving.worker import Worker, load_predictor, max_batch_tokens
from accel_clf.targets.base import Target

MAX_QUEUED_BATCHES = 16
INITIAL_TOKENS_PER_SECOND = 1000.0  # assumed until a batch has been measured
# As transformers' pipelines name them. Not the target's own softmax, which is torch's: too much for this process.
FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "softmax": lambda logits: softmax(logits, axis=-1),
    "sigmoid": expit,
    "none": lambda logits: logits,
}
RETRY_SECONDS = 0.05  # between two attempts of a large request to be admitted


class Service:
    """A run, or a cross-validation's ensemble, that scores texts.

    Args:
        run: the run folder.
        settings: the server's settings.

    Attributes:
        target: what the run predicts.
        models: number of models in the ensemble.
        model_name: the name of the pretrained encoder.
        data: the settings that the training data was read by.
        text_columns: the columns that the text is in, there.
        tokenizer: makes what `predict_scores` takes.
        precision: the precision of matrix products.
        device: the device that the model runs on.
        in_flight: number of requests that have been admitted and not answered.
        failed_texts: number of texts that the model has failed on.
        is_draining: whether it is about to close.

    Raises:
        ConfigError: the folder is not a trained run's, or int8 loses more accuracy than `max_loss`.
    """

    def __init__(self, run: Path, settings: ServeConfig) -> None:
        self.settings = settings
        self._supervisor = Supervisor(lambda: Worker(load_predictor, run, settings))
        model = self._supervisor.model
        self.target, self.models, self.precision, self.device = (
            model.target, model.models, model.precision, model.device,
        )  # fmt: skip
        self._temperature = model.temperature
        self.data, self.model_name = model.config.data, model.config.model.name
        self.text_columns = TextColumns.of(self.data)
        self.tokenizer = text_tokenizer(model, self.has_pairs)
        batch_tokens = max_batch_tokens(settings, self.device)
        self.is_draining = False
        self._processed_tokens, self._busy_seconds = 0, 0.0
        self._lock, self.in_flight, self.failed_texts = threading.Lock(), 0, 0
        self.batcher = Batcher(
            self._infer_batch, max_batch_tokens=batch_tokens, max_queued_tokens=MAX_QUEUED_BATCHES * batch_tokens
        )

    @property
    def has_pairs(self) -> bool:
        """Whether a text is a pair."""
        return self.text_columns.pair is not None

    @property
    def is_alive(self) -> bool:
        """Whether the model is running, or its process is being replaced."""
        return self.batcher.is_alive and self._supervisor.is_alive

    @property
    def is_ready(self) -> bool:
        """Whether new requests should be sent here."""
        return self.is_alive and self._supervisor.is_ready and not self.is_draining

    @property
    def worker_restarts(self) -> int:
        """How many times the model's process has been replaced."""
        return self._supervisor.restarts

    @property
    def is_full(self) -> bool:
        """Whether a new request would be refused."""
        return self.in_flight >= self.settings.queue or self.batcher.is_full

    @property
    def retry_after(self) -> int:
        """Seconds after which a refused request may be retried: until the queue has been processed."""
        tokens_per_second = (
            self._processed_tokens / self._busy_seconds if self._busy_seconds else INITIAL_TOKENS_PER_SECOND
        )
        return max(1, round(self.batcher.queued_tokens / tokens_per_second))

    def info(self) -> dict[str, Any]:
        """Return the description of the model and of the limits on requests."""
        return {
            "model": self.model_name,
            "models": self.models,
            "target": self.target.kind,
            "pairs": self.has_pairs,
            "labels": list(self.target.names),
            "thresholds": self.target.thresholds_by_name(),
            "max_length": self.data.max_length,
            "precision": self.precision,
            "device": self.device,
            "temperature": self._temperature,
            "versions": versions(),
            "limits": self.settings.model_dump(
                include={"max_texts", "max_megabytes", "max_file_megabytes", "queue", "timeout"}
            ),
        }

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Count a request as in flight while the context lasts.

        Raises:
            OverloadedError: `queue` requests are in flight already, or the batcher's queue is full.
        """
        with self._lock:
            if self.is_full:
                raise OverloadedError
            self.in_flight += 1
        try:
            yield
        finally:
            with self._lock:
                self.in_flight -= 1

    def parse(self, inputs: str | Mapping[str, Any] | Sequence[Any]) -> Iterator[Text]:
        """Yield the texts that a request's inputs are: one, or each of a list.

        Raises:
            DataError: an input is not what the run reads.
        """
        if isinstance(inputs, str | Mapping):
            yield self.text_columns.parse(inputs, "inputs")
        else:
            for index, value in enumerate(inputs):
                yield self.text_columns.parse(value, f"inputs[{index}]")

    def predict_scores(
        self, texts: Sequence[TokenizedText], is_disconnected: Callable[[], bool] = lambda: False
    ) -> np.ndarray:
        """Return the scores of texts, averaged over an ensemble's models: float64 [texts, scores].

        Args, Raises: see `predict_outputs`.
        """
        return self.predict_outputs(texts, is_disconnected, None)[0]

    def predict_outputs(
        self, texts: Sequence[TokenizedText], is_disconnected: Callable[[], bool], function: str | None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the scores of texts, float64 [texts, scores], and what a function makes of the logits.

        Args:
            texts: as `tokenizer` returns them.
            is_disconnected: returns whether the client has disconnected.
            function: applied to the logits: softmax, sigmoid, or none.

        Returns:
            Averages over an ensemble's models. The second is None for the target's own function, by default.

        Raises:
            OverloadedError, RequestTimeoutError, ClientDisconnectedError, ShuttingDownError: see Batcher.infer.
            FailedTextsError: the model fails on some of the texts, or their scores are not finite.
        """
        if not texts:
            return np.empty((0, len(self.target.names))), None
        rows = [text.ids for text in texts] + [text.swapped for text in texts if text.swapped is not None]
        try:
            outputs = self.batcher.infer(rows, self.settings.timeout, is_disconnected)
        except FailedTextsError as error:
            failures = {index % len(texts): failure for index, failure in error.failures.items()}  # in either order
            self.count_failed(failures)
            raise FailedTextsError(failures) from None
        per_model = np.stack(outputs).astype(np.float64)
        to_scores = FUNCTIONS.get(self.target.function, self.target.scores)
        if self.data.symmetric:
            first, second = np.split(to_scores(per_model), 2)
            per_model = self.target.logits((first + second) / 2)
        per_model = per_model / self._temperature
        scores: np.ndarray = to_scores(per_model).mean(axis=1)
        if function is None or function == self.target.function:
            return scores, None
        return scores, FUNCTIONS[function](per_model).mean(axis=1)

    def predict_scores_with_retries(
        self, texts: Sequence[TokenizedText], is_disconnected: Callable[[], bool]
    ) -> np.ndarray:
        """Return what `predict_scores` does, but retry while overloaded, until the timeout: for chunks of a file."""
        deadline = time.monotonic() + self.settings.timeout
        while True:
            try:
                with self.admit():
                    return self.predict_scores(texts, is_disconnected)
            except OverloadedError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(RETRY_SECONDS)

    def count_failed(self, texts: Collection[int]) -> None:
        """Count texts of a request that the model, or its tokenizer, fails on."""
        with self._lock:
            self.failed_texts += len(texts)

    def drain(self) -> None:
        """Report not ready from now on, so that load balancers stop sending requests; those that come are answered."""
        self.is_draining = True

    def close(self, timeout: float) -> bool:
        """Process what is queued, stop the model, and return whether this was done in time."""
        self.is_draining = True
        in_time = self.batcher.close(timeout)
        self._supervisor.close()
        return in_time

    def _infer_batch(self, rows: Sequence[np.ndarray]) -> BatchAnswer:
        began = time.perf_counter()
        answer = self._supervisor.answer_batch(rows)
        self._busy_seconds += time.perf_counter() - began
        self._processed_tokens += sum(map(len, rows))
        return answer


def ranked_outputs(
    target: Target, scores: np.ndarray, outputs: np.ndarray, count: int | None
) -> list[list[dict[str, Any]]]:
    """Return what a function makes of each text's logits, the highest first, as `Target.ranked` returns scores.

    Args:
        target: what is predicted.
        scores: float64 [texts, scores], by which labels are predicted of texts that may have several.
        outputs: float64 [texts, outputs].
        count: how many, beside those that are predicted; None for all.
    """
    names, texts = target.output_names, []
    for ranking, values in zip(target.ranked(scores, None), outputs.tolist(), strict=True):
        predicted = {item["label"]: item["predicted"] for item in ranking if "predicted" in item}
        items = [
            {"label": name, "score": value, **({"predicted": predicted[name]} if predicted else {})}
            for value, name in sorted(zip(values, names, strict=True), key=lambda pair: -pair[0])
        ]
        texts.append(items if count is None else items[:count] + [i for i in items[count:] if i.get("predicted")])
    return texts
