"""Dynamic batching: one thread runs the model on the queued rows of all requests, in batches of similar length."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue

import numpy as np

from accel_clf.inference.failures import Failure
from accel_clf.serving.errors import (
    ClientDisconnectedError,
    FailedTextsError,
    OverloadedError,
    RequestTimeoutError,
    ShuttingDownError,
)

LOOKAHEAD_BATCHES = 4  # batches' worth of tokens dequeued together, so that rows of similar length can be grouped
DISCONNECT_CHECK_SECONDS = 0.25  # between two checks whether a waiting request's client has disconnected

BatchAnswer = tuple[Iterable[np.ndarray], Mapping[int, Failure]]  # by row, the outputs, and why some have none
InferBatch = Callable[[Sequence[np.ndarray]], BatchAnswer]


@dataclass(eq=False)
class _Request:
    """The rows of one request.

    Attributes:
        rows: token ids, int [length] each.
        deadline: time at which the request is abandoned, by time.monotonic().
        remaining: number of rows without an output.
        outputs: the output of each row.
        done: set when all rows have their outputs, or the request has failed.
        error: the reason for its failure.
        failures: why rows have no output of any worth, by their indices.
    """

    rows: Sequence[np.ndarray]
    deadline: float
    remaining: int
    outputs: list[np.ndarray | None]
    done: threading.Event = field(default_factory=threading.Event)
    error: Exception | None = None
    failures: dict[int, Failure] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        return sum(map(len, self.rows))


_BatchRows = Sequence[tuple[_Request, int]]  # for each row of a batch its request, and its index in that request


class Batcher:
    """Runs the model in a single thread on rows from any number of threads.

    It never waits for a batch to fill up: a single request is processed at once, and requests that arrive while a batch
    is running form the next one. Outputs are delivered by a second thread: otherwise the threads that wait for them
    would take the interpreter's lock before the next batch has started.

    Args:
        infer_batch: function that maps rows of token ids, int [length] each, to their outputs, and to why some rows
            have failed; raises ShuttingDownError where it cannot run any more.
        max_batch_tokens: size limit of a batch, including padding; a longer row forms a batch by itself.
        max_queued_tokens: size limit of the queue.
    """

    def __init__(self, infer_batch: InferBatch, *, max_batch_tokens: int, max_queued_tokens: int) -> None:
        self._infer_batch = infer_batch
        self.max_batch_tokens, self.max_queued_tokens = max_batch_tokens, max_queued_tokens
        self._queue: deque[_Request] = deque()
        self._queued_tokens = 0
        self._changed = threading.Condition()
        self._closing = False
        self._finished: SimpleQueue[tuple[_BatchRows, BatchAnswer] | None] = SimpleQueue()
        self._delivery_thread = threading.Thread(target=self._deliver_outputs, name="delivery", daemon=True)
        self._delivery_thread.start()
        self._inference_thread = threading.Thread(target=self._run_batches, name="inference", daemon=True)
        self._inference_thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether the inference thread is running."""
        return self._inference_thread.is_alive()

    @property
    def queued_tokens(self) -> int:
        """Number of tokens in the queue."""
        return self._queued_tokens

    @property
    def is_full(self) -> bool:
        """Whether even the smallest request would be refused."""
        return self._queued_tokens >= self.max_queued_tokens

    def infer(
        self, rows: Sequence[np.ndarray], timeout: float, is_disconnected: Callable[[], bool]
    ) -> list[np.ndarray]:
        """Queue a request's rows and return their outputs.

        Args:
            rows: token ids, int [length] each.
            timeout: maximum time to wait, in seconds.
            is_disconnected: returns whether the client has disconnected; polled while waiting.

        Raises:
            OverloadedError: the queue is full. A request is never refused while the queue is empty.
            RequestTimeoutError, ClientDisconnectedError: the request is abandoned; its remaining rows are skipped.
            ShuttingDownError: the batcher is closing, or its inference thread has failed.
            FailedTextsError: rows have failed, by their indices here. The others of the request have been answered.
        """
        if not rows:
            return []
        request = _Request(rows, time.monotonic() + timeout, len(rows), [None] * len(rows))
        with self._changed:
            if self._closing or not self.is_alive:
                raise ShuttingDownError
            if self._queue and self._queued_tokens + request.tokens > self.max_queued_tokens:
                raise OverloadedError
            self._queue.append(request)
            self._queued_tokens += request.tokens
            self._changed.notify()
        try:
            while not request.done.wait(min(DISCONNECT_CHECK_SECONDS, max(0.0, request.deadline - time.monotonic()))):
                if is_disconnected():
                    raise ClientDisconnectedError
                if time.monotonic() >= request.deadline:
                    raise RequestTimeoutError
        except BaseException:
            request.deadline = 0.0
            raise
        if request.error:
            raise request.error
        if request.failures:
            raise FailedTextsError(request.failures)
        outputs = [output for output in request.outputs if output is not None]
        assert len(outputs) == len(rows), "a request is done when each of its rows has an output"
        return outputs

    def close(self, timeout: float) -> bool:
        """Refuse new requests, process those that are queued, and return whether this was done in time."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._inference_thread.join(timeout)
        return not self.is_alive

    def _run_batches(self) -> None:
        requests: list[_Request] = []
        try:
            while requests := self._dequeue():
                rows = [(request, index) for request in requests for index in range(len(request.rows))]
                lengths = np.array([len(request.rows[index]) for request, index in rows])
                for positions in group_by_length(lengths, self.max_batch_tokens):
                    self._run_batch([rows[position] for position in positions.tolist()])
        except ShuttingDownError:
            pass  # the model does not run any more, and whoever runs it has said why
        finally:
            self._finished.put(None)
            self._delivery_thread.join()
            # After close() no request is left here. Otherwise the model has failed, and all waiting requests with it.
            with self._changed:
                self._closing = True
                for request in (*requests, *self._queue):
                    if not request.done.is_set():
                        request.error = ShuttingDownError()
                        request.done.set()

    def _dequeue(self) -> list[_Request]:
        """Wait for requests and return the oldest ones, enough for several batches; none when it is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closing)
            requests: list[_Request] = []
            tokens = 0
            while self._queue and tokens < LOOKAHEAD_BATCHES * self.max_batch_tokens:
                requests.append(self._queue.popleft())
                tokens += requests[-1].tokens
            self._queued_tokens -= tokens
            return requests

    def _run_batch(self, rows: _BatchRows) -> None:
        now = time.monotonic()
        rows = [(request, index) for request, index in rows if request.deadline > now]  # the others are abandoned
        if not rows:
            return
        self._finished.put((rows, self._infer_batch([request.rows[index] for request, index in rows])))

    def _deliver_outputs(self) -> None:
        while batch := self._finished.get():
            rows, (outputs, failures) = batch
            for position, failure in failures.items():
                request, index = rows[position]
                request.failures[index] = failure
            for (request, index), output in zip(rows, outputs, strict=True):
                request.outputs[index] = output
                request.remaining -= 1
                if request.remaining == 0:
                    request.done.set()


def group_by_length(lengths: np.ndarray, max_tokens: int) -> list[np.ndarray]:
    """Group rows of similar length into batches.

    Args:
        lengths: int [rows].
        max_tokens: size limit of a batch, padded to its longest row; a longer row forms a batch by itself.

    Returns:
        The row indices of each batch, int [batch size], the shortest rows first.
    """
    batches: list[np.ndarray] = []
    order = np.argsort(lengths, kind="stable")
    start = 0
    for end in range(1, len(order) + 1):
        if end == len(order) or lengths[order[end]] * (end + 1 - start) > max_tokens:
            batches.append(order[start:end])
            start = end
    return batches
