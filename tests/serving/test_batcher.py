"""The batcher: every request gets its own outputs, none waits forever, and abandoned requests are skipped."""

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accel_clf.inference.failures import Failure
from accel_clf.serving.batcher import Batcher, group_by_length
from accel_clf.serving.errors import (
    ClientDisconnectedError,
    FailedTextsError,
    OverloadedError,
    RequestTimeoutError,
    ShuttingDownError,
)

TIMEOUT = 30.0  # seconds


@given(st.lists(st.integers(1, 50), max_size=60), st.integers(1, 120))
def test_batches_contain_every_row_once(lengths: list[int], max_tokens: int) -> None:
    batches = group_by_length(np.array(lengths, int), max_tokens)
    assert sorted(row for batch in batches for row in batch.tolist()) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[row] for row in batch)
        assert len(batch) == 1 or longest * len(batch) <= max_tokens
    for batch, following in pairwise(batches):
        tokens_with_one_more = (len(batch) + 1) * lengths[following[0]]
        assert tokens_with_one_more > max_tokens, "one more row would have fitted"


FAILURE = Failure("IndexError: planted", is_of_text=True)


class FakeModel:
    """Returns the sum of each row, once `resume` is set; fails on rows that begin with a negative token."""

    def __init__(self) -> None:
        self.resume = threading.Event()
        self.resume.set()
        self.entered = threading.Semaphore(0)
        self.batch_lengths: list[list[int]] = []
        self.error: Exception | None = None

    def __call__(self, rows: Sequence[np.ndarray]) -> tuple[np.ndarray, dict[int, Failure]]:
        self.entered.release()
        assert self.resume.wait(TIMEOUT)
        if self.error:
            raise self.error
        self.batch_lengths.append([len(row) for row in rows])
        return np.array([row.sum() for row in rows]), {i: FAILURE for i, row in enumerate(rows) if row[0] < 0}


@pytest.fixture
def model() -> FakeModel:
    return FakeModel()


@pytest.fixture
def batcher(model: FakeModel) -> Iterator[Batcher]:
    batcher = Batcher(model, max_batch_tokens=100, max_queued_tokens=400)
    yield batcher
    model.resume.set()
    assert batcher.close(TIMEOUT)


def never() -> bool:
    return False


def make_row(length: int, value: int = 1) -> np.ndarray:
    return np.full(length, value)


def submit_and_wait_until_queued(
    batcher: Batcher, rows: list[np.ndarray], pool: ThreadPoolExecutor
) -> "Future[list[np.ndarray]]":
    """Submit a request that is in the queue when this returns."""
    tokens_before = batcher.queued_tokens
    future = pool.submit(batcher.infer, rows, TIMEOUT, never)
    deadline = time.monotonic() + TIMEOUT
    while batcher.queued_tokens == tokens_before and time.monotonic() < deadline and not future.done():
        time.sleep(0.001)
    return future


def test_every_request_gets_its_own_outputs() -> None:
    model = FakeModel()
    batcher = Batcher(model, max_batch_tokens=200, max_queued_tokens=10**6)
    rng = np.random.default_rng(0)
    requests = [[rng.integers(0, 10**6, rng.integers(1, 60)) for _ in range(rng.integers(0, 8))] for _ in range(1000)]
    with ThreadPoolExecutor(64) as clients:
        results = list(clients.map(lambda rows: batcher.infer(rows, TIMEOUT, never), requests))
    assert [list(map(int, outputs)) for outputs in results] == [[int(row.sum()) for row in rows] for rows in requests]
    assert max(len(lengths) for lengths in model.batch_lengths) > 1
    assert all(len(lengths) == 1 or len(lengths) * max(lengths) <= 200 for lengths in model.batch_lengths)
    assert batcher.close(TIMEOUT)
    assert batcher.queued_tokens == 0


def test_queued_rows_are_batched_by_length(batcher: Batcher, model: FakeModel) -> None:
    model.resume.clear()
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(batcher.infer, [make_row(5)], TIMEOUT, never)
        assert model.entered.acquire(timeout=TIMEOUT)
        for rows in ([make_row(40), make_row(10)], [make_row(45), make_row(12)], [make_row(11)]):
            submit_and_wait_until_queued(batcher, rows, pool)
        model.resume.set()
        assert first.result(TIMEOUT) == [5]
    assert model.batch_lengths == [[5], [10, 11, 12], [40, 45]]


def test_full_queue_refuses_requests(batcher: Batcher, model: FakeModel) -> None:
    model.resume.clear()
    with ThreadPoolExecutor(4) as pool:
        pool.submit(batcher.infer, [make_row(5)], TIMEOUT, never)
        assert model.entered.acquire(timeout=TIMEOUT)
        # Larger than the queue, but the only request in it.
        large = submit_and_wait_until_queued(batcher, [make_row(500)], pool)
        with pytest.raises(OverloadedError):
            batcher.infer([make_row(1)], TIMEOUT, never)
        model.resume.set()
        assert large.result(TIMEOUT) == [500]
    assert batcher.infer([make_row(3)], TIMEOUT, never) == [3]


def test_timed_out_request_is_skipped(batcher: Batcher, model: FakeModel) -> None:
    model.resume.clear()
    with ThreadPoolExecutor(4) as pool:
        pool.submit(batcher.infer, [make_row(5)], TIMEOUT, never)
        assert model.entered.acquire(timeout=TIMEOUT)
        with pytest.raises(RequestTimeoutError):
            batcher.infer([make_row(7)], 0.01, never)
        patient = submit_and_wait_until_queued(batcher, [make_row(8)], pool)
        model.resume.set()
        assert patient.result(TIMEOUT) == [8]
    assert model.batch_lengths == [[5], [8]]


def test_disconnected_client_is_skipped(batcher: Batcher, model: FakeModel) -> None:
    model.resume.clear()
    disconnected = threading.Event()
    with ThreadPoolExecutor(4) as pool:
        pool.submit(batcher.infer, [make_row(5)], TIMEOUT, never)
        assert model.entered.acquire(timeout=TIMEOUT)
        abandoned = pool.submit(batcher.infer, [make_row(7)], TIMEOUT, disconnected.is_set)
        disconnected.set()
        assert isinstance(abandoned.exception(TIMEOUT), ClientDisconnectedError)
        model.resume.set()
    assert model.batch_lengths == [[5]]


def test_close_processes_queued_requests(model: FakeModel) -> None:
    batcher = Batcher(model, max_batch_tokens=100, max_queued_tokens=1000)
    model.resume.clear()
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(batcher.infer, [make_row(5)], TIMEOUT, never)]
        assert model.entered.acquire(timeout=TIMEOUT)
        futures += [submit_and_wait_until_queued(batcher, [make_row(length)], pool) for length in range(2, 6)]
        closed = pool.submit(batcher.close, TIMEOUT)
        while not batcher._closing:
            time.sleep(0.001)
        with pytest.raises(ShuttingDownError):
            batcher.infer([make_row(1)], TIMEOUT, never)
        model.resume.set()
        assert [future.result(TIMEOUT) for future in futures] == [[5], [2], [3], [4], [5]]
        assert closed.result(TIMEOUT)
    assert not batcher.is_alive


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # the exception is the subject
def test_failed_model_fails_all_waiting_requests(model: FakeModel) -> None:
    batcher = Batcher(model, max_batch_tokens=10, max_queued_tokens=1000)
    model.resume.clear()
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(batcher.infer, [make_row(5)], TIMEOUT, never)]
        assert model.entered.acquire(timeout=TIMEOUT)
        futures += [submit_and_wait_until_queued(batcher, [make_row(9), make_row(9)], pool) for _ in range(3)]
        model.error = MemoryError("out of memory")
        model.resume.set()
        for future in futures:
            with pytest.raises(ShuttingDownError):
                future.result(TIMEOUT)
    batcher._inference_thread.join(TIMEOUT)
    assert not batcher.is_alive
    with pytest.raises(ShuttingDownError):
        batcher.infer([make_row(1)], TIMEOUT, never)


def test_failed_rows_fail_their_request_alone(batcher: Batcher, model: FakeModel) -> None:
    model.resume.clear()
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(batcher.infer, [make_row(5)], TIMEOUT, never)
        assert model.entered.acquire(timeout=TIMEOUT)
        others = [submit_and_wait_until_queued(batcher, [make_row(4), make_row(3)], pool) for _ in range(2)]
        rows = [make_row(3), make_row(4, -1), make_row(4), make_row(6, -1)]
        failing = submit_and_wait_until_queued(batcher, rows, pool)
        model.resume.set()
        with pytest.raises(FailedTextsError) as caught:
            failing.result(TIMEOUT)
        assert caught.value.failures == {1: FAILURE, 3: FAILURE}
        assert [first.result(TIMEOUT), *(other.result(TIMEOUT) for other in others)] == [[5], [4, 3], [4, 3]]
    assert batcher.is_alive
    assert batcher.infer([make_row(2)], TIMEOUT, never) == [2]


def test_model_that_does_not_run_any_more_fails_all_waiting_requests(model: FakeModel) -> None:
    batcher = Batcher(model, max_batch_tokens=10, max_queued_tokens=1000)
    model.error = ShuttingDownError()
    with pytest.raises(ShuttingDownError):
        batcher.infer([make_row(5)], TIMEOUT, never)
    batcher._inference_thread.join(TIMEOUT)
    assert not batcher.is_alive


def test_request_without_rows_returns_at_once(batcher: Batcher) -> None:
    assert batcher.infer([], 0.0, never) == []
