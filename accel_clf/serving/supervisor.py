"""The model's process, replaced when it ends: a text, or the system, may end it, and must not end the server."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from accel_clf.core.console import log
from accel_clf.core.errors import UserError
from accel_clf.inference.failures import Failure
from accel_clf.serving.errors import ShuttingDownError, WorkerDiedError
from accel_clf.serving.worker import LoadedModel, Worker

# Within RESTART_SECONDS. A text that ends the process takes two. Where more end in so short a time, either the model
# cannot run here, or somebody means harm: the server ends, and what supervises it decides.
MAX_RESTARTS = 6
RESTART_SECONDS = 60.0


class Supervisor:
    """Runs the model in a worker, and starts another one when its process has ended.

    Args:
        start: starts a worker.

    Attributes:
        model: description of the model that the first worker has loaded, and all others must load.
        restarts: how many workers have been replaced.

    Raises:
        UserError: see Worker.
    """

    def __init__(self, start: Callable[[], Worker]) -> None:
        self._start = start
        worker = start()
        self.model: LoadedModel = worker.model
        self.restarts = 0
        self._worker: Worker | None = worker
        self._dead: Worker | None = None  # the last one that has ended under a batch, which may not be noticed yet
        self._has_failed = self._is_closing = False
        self._changed = threading.Condition()
        self._deaths: deque[float] = deque(maxlen=MAX_RESTARTS + 1)  # by time.monotonic()
        threading.Thread(target=self._watch, name="supervisor", daemon=True).start()

    @property
    def is_alive(self) -> bool:
        """Whether the model is running, or will run again."""
        return not self._has_failed

    @property
    def is_ready(self) -> bool:
        """Whether the model is running."""
        worker = self._worker  # another thread may replace it
        return worker is not None and worker.is_alive

    def answer_batch(self, rows: Sequence[np.ndarray]) -> tuple[Iterable[np.ndarray], Mapping[int, Failure]]:
        """Compute a batch's logits, as `Worker.answer_batch` does; not thread-safe.

        Where the process ends meanwhile, the rows are tried once more in the next one, each alone: one that ends this
        process, too, has failed.

        Raises:
            ShuttingDownError: the model does not run any more.
        """
        worker = self._running()
        try:
            return worker.answer_batch(rows)
        except WorkerDiedError:
            self._dead = worker
            return self._answer_each(rows)

    def close(self) -> None:
        """Stop the process."""
        with self._changed:
            self._is_closing, worker, self._worker = True, self._worker, None
            self._changed.notify_all()
        if worker:
            worker.close()

    def _answer_each(self, rows: Sequence[np.ndarray]) -> tuple[Iterable[np.ndarray], Mapping[int, Failure]]:
        outputs: list[np.ndarray] = []
        failures: dict[int, Failure] = {}
        for index, row in enumerate(rows):
            worker = self._running()
            try:
                [output], of_row = worker.answer_batch([row])
                if of_row:
                    failures[index] = of_row[0]
            except WorkerDiedError as error:
                self._dead, output = worker, np.empty(0)
                failures[index] = Failure(f"twice the model's process ended with it: it {error.reason}", False)
            outputs.append(output)
        return outputs, failures

    def _running(self) -> Worker:
        """Wait for a worker that has not ended.

        Raises:
            ShuttingDownError: there will be none.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._has_failed or self._is_closing or self._worker not in (None, self._dead)
            )
            if self._worker is None or self._has_failed or self._is_closing:
                raise ShuttingDownError
            return self._worker

    def _watch(self) -> None:
        """Replace each worker that ends, until one is closed or there is none to replace it."""
        worker = self._worker
        while worker is not None and (reason := worker.wait_for_death()):
            with self._changed:
                self._worker = None
            worker = self._replacement(reason)
            with self._changed:
                self._has_failed = worker is None
                self._worker = None if self._is_closing else worker
                self._changed.notify_all()
                is_closing = self._is_closing
            if worker and is_closing:
                worker.close()

    def _replacement(self, reason: str) -> Worker | None:
        """Start the worker that takes the place of one that has ended; None where that fails."""
        while not self._is_closing:
            self._deaths.append(time.monotonic())
            if len(self._deaths) > MAX_RESTARTS and self._deaths[-1] - self._deaths[0] < RESTART_SECONDS:
                log(f"the model process {reason}; it has ended {len(self._deaths)} times in {RESTART_SECONDS:g} s")
                return None
            log(f"warning: the model process {reason}; another one is being started")
            try:
                worker = self._start()
            except WorkerDiedError as error:
                reason = error.reason
                continue
            except Exception as error:  # whatever it is, requests must not wait for this thread
                log(str(error) if isinstance(error, UserError) else f"error: {type(error).__name__}: {error}")
                return None
            if not worker.model.answers_as(self.model):
                worker.close()
                log("error: the run has changed since the server was started\n  to do:    start the server again")
                return None
            self.restarts += 1
            return worker
        return None
