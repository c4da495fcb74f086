"""Many requests, one model: a thread that owns it answers what waits in batches of like length."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue

import numpy as np

from accel_clf.serving.errors import ClientDisconnectedError, OverloadedError, RequestTimeoutError, ShuttingDownError

AHEAD = 4  # batches whose rows are taken from the queue together, so that rows of like length meet


SECONDS_BETWEEN_LOOKS = 0.25  # whether a request is still wanted


Answer = Callable[[Sequence[np.ndarray]], np.ndarray]


Places = Sequence[tuple["_Request", int]]  # a request and which of its rows, for each row of a batch


@dataclass(eq=False)
class _Request:
    """Rows that somebody waits for.

    Attributes:
        rows: the token ids of each.
        until: when nobody waits any more, by time.monotonic().
        missing: how many are not answered yet.
        answers: of each row.
        done: whether all are, or it has failed.
        failed: why.
    """

    rows: Sequence[np.ndarray]
    until: float
    missing: int
    answers: list[np.ndarray | None]
    done: threading.Event = field(default_factory=threading.Event)
    failed: Exception | None = None

    @property
    def tokens(self) -> int:
        return sum(map(len, self.rows))


class Batcher:
    """Answers rows of any number of threads by one thread of its own.

    It waits for nothing but rows: alone, a request is answered at once; while a batch is being answered others gather,
    and make the next one. Answers are handed out by another thread: those who wait for them would get the interpreter's
    lock before the next batch is on its way.

    Args:
        answer: rows of token ids, int [length] each, to what is returned for them, one after another: [rows, ...].
        batch_tokens: most that a batch may have, padding counted; a longer row is a batch of its own.
        waiting_tokens: most that may wait.
    """

    def __init__(self, answer: Answer, *, batch_tokens: int, waiting_tokens: int) -> None:
        self._answer, self.batch_tokens, self.waiting_tokens = answer, batch_tokens, waiting_tokens
        self._queue: deque[_Request] = deque()
        self._queued = 0  # tokens
        self._changed = threading.Condition()
        self._closing = False
        self._answered: SimpleQueue[tuple[Places, np.ndarray] | None] = SimpleQueue()
        self._handing_out = threading.Thread(target=self._hand_out, name="answers", daemon=True)
        self._handing_out.start()
        self._thread = threading.Thread(target=self._work, name="inference", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether rows are answered, or would be."""
        return self._thread.is_alive()

    @property
    def queued(self) -> int:
        """Tokens that wait."""
        return self._queued

    @property
    def full(self) -> bool:
        """Whether not even the smallest request would be taken."""
        return self._queued >= self.waiting_tokens

    def ask(self, rows: Sequence[np.ndarray], seconds: float, gone: Callable[[], bool]) -> list[np.ndarray]:
        """What is answered to each row.

        Args:
            rows: int [length] each.
            seconds: to wait at most.
            gone: whether nobody wants the answers any more; asked now and then.

        Raises:
            OverloadedError: too much waits already. A request that is alone is never too much.
            RequestTimeoutError, ClientDisconnectedError: it took too long; what is not answered by then will not be.
            ShuttingDownError: it is closing, or its thread has failed.
        """
        if not rows:
            return []
        request = _Request(rows, time.monotonic() + seconds, len(rows), [None] * len(rows))
        with self._changed:
            if self._closing or not self.alive:
                raise ShuttingDownError
            if self._queue and self._queued + request.tokens > self.waiting_tokens:
                raise OverloadedError
            self._queue.append(request)
            self._queued += request.tokens
            self._changed.notify()
        try:
            while not request.done.wait(min(SECONDS_BETWEEN_LOOKS, max(0.0, request.until - time.monotonic()))):
                if gone():
                    raise ClientDisconnectedError
                if time.monotonic() >= request.until:
                    raise RequestTimeoutError
        except BaseException:
            request.until = 0.0
            raise
        if request.failed:
            raise request.failed
        return [answer for answer in request.answers if answer is not None]

    def close(self, seconds: float) -> bool:
        """Take no more requests and answer those that wait; whether this was done in time."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(seconds)
        return not self.alive

    def _work(self) -> None:
        taken: list[_Request] = []
        try:
            while taken := self._take():
                places = [(request, place) for request in taken for place in range(len(request.rows))]
                lengths = np.array([len(request.rows[place]) for request, place in places])
                for batch in batches(lengths, self.batch_tokens):
                    self._answer_to([places[number] for number in batch.tolist()])
        finally:
            self._answered.put(None)
            self._handing_out.join()
            # Closed, there is nobody left. Otherwise the model has failed, for all who wait.
            with self._changed:
                self._closing = True
                for request in (*taken, *self._queue):
                    if not request.done.is_set():
                        request.failed = ShuttingDownError()
                        request.done.set()

    def _take(self) -> list[_Request]:
        """The requests that have waited longest, for some batches; none when it is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closing)
            taken: list[_Request] = []
            tokens = 0
            while self._queue and tokens < AHEAD * self.batch_tokens:
                taken.append(self._queue.popleft())
                tokens += taken[-1].tokens
            self._queued -= tokens
            return taken

    def _answer_to(self, places: Places) -> None:
        now = time.monotonic()
        places = [(request, place) for request, place in places if request.until > now]  # others have left
        if not places:
            return
        self._answered.put((places, self._answer([request.rows[place] for request, place in places])))

    def _hand_out(self) -> None:
        while found := self._answered.get():
            for (request, place), answer in zip(*found, strict=True):
                request.answers[place] = answer
                request.missing -= 1
                if request.missing == 0:
                    request.done.set()


def batches(lengths: np.ndarray, most_tokens: int) -> list[np.ndarray]:
    """Rows of like length together: each batch, padded to its longest row, has at most so many tokens, or one row.

    Args:
        lengths: int [rows].
        most_tokens: of a batch.

    Returns:
        The positions of the rows of each batch, the shortest rows first.
    """
    found: list[np.ndarray] = []
    order = np.argsort(lengths, kind="stable")
    start = 0
    for end in range(1, len(order) + 1):
        if end == len(order) or lengths[order[end]] * (end + 1 - start) > most_tokens:
            found.append(order[start:end])
            start = end
    return found
