"""One thread for many: nobody gets another's answer, nobody waits for ever, nothing is answered that nobody wants."""

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accel_clf.serving.batcher import Batcher, batches
from accel_clf.serving.errors import ClientDisconnectedError, OverloadedError, RequestTimeoutError, ShuttingDownError

LONG = 30.0


@given(st.lists(st.integers(1, 50), max_size=60), st.integers(1, 120))
def test_batches_hold_every_row_once(lengths: list[int], most: int) -> None:
    found = batches(np.array(lengths, int), most)
    assert sorted(row for batch in found for row in batch.tolist()) == list(range(len(lengths)))
    for batch in found:
        widest = max(lengths[row] for row in batch)
        assert len(batch) == 1 or widest * len(batch) <= most
    for batch, following in pairwise(found):
        together = (len(batch) + 1) * lengths[following[0]]
        assert together > most, "a row more would have fitted"


class ModelConfig:
    """Answers each row with its sum, when it is let."""

    def __init__(self) -> None:
        self.run = threading.Event()
        self.run.set()
        self.entered = threading.Semaphore(0)
        self.seen: list[list[int]] = []
        self.fails: Exception | None = None

    def __call__(self, rows: Sequence[np.ndarray]) -> np.ndarray:
        self.entered.release()
        assert self.run.wait(LONG)
        if self.fails:
            raise self.fails
        self.seen.append([len(row) for row in rows])
        return np.array([row.sum() for row in rows])


@pytest.fixture
def model() -> ModelConfig:
    return ModelConfig()


@pytest.fixture
def batcher(model: ModelConfig) -> Iterator[Batcher]:
    made = Batcher(model, batch_tokens=100, waiting_tokens=400)
    yield made
    model.run.set()
    assert made.close(LONG)


def never() -> bool:
    return False


def row(length: int, number: int = 1) -> np.ndarray:
    return np.full(length, number)


def test_nobody_gets_anothers_answer() -> None:
    model = ModelConfig()
    batcher = Batcher(model, batch_tokens=200, waiting_tokens=10**6)
    draw = np.random.default_rng(0)
    requests = [
        [draw.integers(0, 10**6, draw.integers(1, 60)) for _ in range(draw.integers(0, 8))] for _ in range(1000)
    ]
    with ThreadPoolExecutor(64) as clients:
        answers = list(clients.map(lambda rows: batcher.ask(rows, LONG, never), requests))
    assert [list(map(int, found)) for found in answers] == [[int(r.sum()) for r in rows] for rows in requests]
    assert max(len(seen) for seen in model.seen) > 1
    assert all(len(seen) == 1 or len(seen) * max(seen) <= 200 for seen in model.seen)
    assert batcher.close(LONG)
    assert batcher.queued == 0


def later(batcher: Batcher, rows: list[np.ndarray], pool: ThreadPoolExecutor) -> "Future[list[np.ndarray]]":
    """A request that waits in the queue when this returns."""
    queued = batcher.queued
    asked = pool.submit(batcher.ask, rows, LONG, never)
    until = time.monotonic() + LONG
    while batcher.queued == queued and time.monotonic() < until and not asked.done():
        time.sleep(0.001)
    return asked


def test_what_gathers_is_answered_together_by_length(batcher: Batcher, model: ModelConfig) -> None:
    model.run.clear()
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(batcher.ask, [row(5)], LONG, never)
        assert model.entered.acquire(timeout=LONG)
        for rows in ([row(40), row(10)], [row(45), row(12)], [row(11)]):
            later(batcher, rows, pool)
        model.run.set()
        assert first.result(LONG) == [5]
    assert model.seen == [[5], [10, 11, 12], [40, 45]]


def test_no_more_waits_than_may(batcher: Batcher, model: ModelConfig) -> None:
    model.run.clear()
    with ThreadPoolExecutor(4) as pool:
        pool.submit(batcher.ask, [row(5)], LONG, never)
        assert model.entered.acquire(timeout=LONG)
        large = later(batcher, [row(500)], pool)  # larger than the queue, but alone in it
        with pytest.raises(OverloadedError):
            batcher.ask([row(1)], LONG, never)
        model.run.set()
        assert large.result(LONG) == [500]
    assert batcher.ask([row(3)], LONG, never) == [3]


def test_who_has_left_is_not_answered(batcher: Batcher, model: ModelConfig) -> None:
    model.run.clear()
    with ThreadPoolExecutor(4) as pool:
        pool.submit(batcher.ask, [row(5)], LONG, never)
        assert model.entered.acquire(timeout=LONG)
        with pytest.raises(RequestTimeoutError):
            batcher.ask([row(7)], 0.01, never)
        stays = later(batcher, [row(8)], pool)
        model.run.set()
        assert stays.result(LONG) == [8]
    assert model.seen == [[5], [8]]


def test_who_is_gone_is_not_answered(batcher: Batcher, model: ModelConfig) -> None:
    model.run.clear()
    left = threading.Event()
    with ThreadPoolExecutor(4) as pool:
        pool.submit(batcher.ask, [row(5)], LONG, never)
        assert model.entered.acquire(timeout=LONG)
        goes = pool.submit(batcher.ask, [row(7)], LONG, left.is_set)
        left.set()
        assert isinstance(goes.exception(LONG), ClientDisconnectedError)
        model.run.set()
    assert model.seen == [[5]]


def test_closing_answers_what_waits(model: ModelConfig) -> None:
    batcher = Batcher(model, batch_tokens=100, waiting_tokens=1000)
    model.run.clear()
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(batcher.ask, [row(5)], LONG, never)]
        assert model.entered.acquire(timeout=LONG)
        asked += [later(batcher, [row(number)], pool) for number in range(2, 6)]
        closed = pool.submit(batcher.close, LONG)
        while not batcher._closing:
            time.sleep(0.001)
        with pytest.raises(ShuttingDownError):
            batcher.ask([row(1)], LONG, never)
        model.run.set()
        assert [one.result(LONG) for one in asked] == [[5], [2], [3], [4], [5]]
        assert closed.result(LONG)
    assert not batcher.alive


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # which is what is tested
def test_a_model_that_fails_leaves_nobody_waiting(model: ModelConfig) -> None:
    batcher = Batcher(model, batch_tokens=10, waiting_tokens=1000)
    model.run.clear()
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(batcher.ask, [row(5)], LONG, never)]
        assert model.entered.acquire(timeout=LONG)
        asked += [later(batcher, [row(9), row(9)], pool) for _ in range(3)]
        model.fails = MemoryError("no room")
        model.run.set()
        for one in asked:
            with pytest.raises(ShuttingDownError):
                one.result(LONG)
    batcher._thread.join(LONG)
    assert not batcher.alive
    with pytest.raises(ShuttingDownError):
        batcher.ask([row(1)], LONG, never)


def test_nothing_asked_is_answered_at_once(batcher: Batcher) -> None:
    assert batcher.ask([], 0.0, never) == []
