"""No text ends the server: neither one that the model fails on, nor one that ends the model's process."""

import csv
import io
import json
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest

from accel_clf.core.errors import UserError
from accel_clf.inference.failures import Failure
from accel_clf.serving import supervisor
from accel_clf.serving.errors import ShuttingDownError, WorkerDiedError
from accel_clf.serving.supervisor import MAX_RESTARTS, Supervisor
from tests.conftest import BAD
from tests.serving.broken import LONG, plant, plant_restarts
from tests.serving.harness import Server, serving, wait_until


@pytest.fixture(scope="module")
def bad_server(run_with_bad_word: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(run_with_bad_word, tmp_path_factory.mktemp("server")) as server:
        yield server


def metric(server: Server, name: str) -> float:
    match = re.search(rf"^{name} (\S+)$", server.request("GET", "/metrics").body.decode(), re.MULTILINE)
    assert match, name
    return float(match[1])


def model_process(server: Server) -> psutil.Process:
    [process] = psutil.Process(server.process.pid).children()
    return process


def test_bad_text_gets_422_and_its_place(bad_server: Server) -> None:
    failed = metric(bad_server, "accel_clf_failed_texts_total")
    reason = "the model fails on this text (IndexError: index out of range in self)"
    response = bad_server.predict(["a dull film", f"a {BAD} film", "superb"])
    assert (response.status, response.json["error_type"]) == (422, "Validation")
    assert response.json["error"] == f"inputs[1]: {reason}"
    response = bad_server.predict([BAD, "", f"{BAD} {BAD}"])
    assert response.json["error"] == f"inputs[0]: {reason}; so it does on 1 more of these texts"
    assert bad_server.request("GET", f"/predict?sentence={BAD}").json["error"] == f"sentence: {reason}"
    response = bad_server.request("POST", "/explain", {"inputs": f"a {BAD} film"})
    assert (response.status, response.json["error"].partition(":")[0]) == (422, "inputs")
    assert metric(bad_server, "accel_clf_failed_texts_total") > failed + 4
    assert bad_server.predict(["a dull film"]).status == 200
    assert metric(bad_server, "accel_clf_worker_restarts_total") == 0


def test_others_get_their_answers_whatever_shares_their_batch(bad_server: Server) -> None:
    """32 clients, every twentieth text bad: no answer lost or changed, and the same processes at the end."""
    texts = [f"{'the film was dull ' * (number % 7)}superb {number % 5}" for number in range(40)]
    expected = [bad_server.predict(text).json for text in texts]
    process = model_process(bad_server)

    def client(number: int) -> list[tuple[int, Any, Any]]:
        answers = []
        for turn in range(10):
            index = 10 * number + turn
            is_bad = index % 20 == 7
            response = bad_server.predict(f"{texts[index % 40]} {BAD}" if is_bad else texts[index % 40])
            answers.append((response.status, response.json, None if is_bad else expected[index % 40]))
        return answers

    with ThreadPoolExecutor(32) as clients:
        answers = [answer for of_client in clients.map(client, range(32)) for answer in of_client]
    assert len(answers) == 320
    for status, answer, right in answers:
        if right is None:
            assert status == 422
            continue
        assert status == 200
        assert [item["label"] for item in answer[0]] == [item["label"] for item in right[0]]
        scores, right_scores = ([item["score"] for item in ranking[0]] for ranking in (answer, right))
        assert scores == pytest.approx(right_scores, abs=1e-6)  # rounding goes by the batch's shape
    assert model_process(bad_server) == process


def test_file_names_the_row_or_goes_on(bad_server: Server) -> None:
    table = f'id,text\n1,"a dull\nfilm"\n2,\n3,a {BAD}\n4,superb\n'.encode()
    response = bad_server.upload("my.csv", table)
    reason = "IndexError: index out of range in self"
    assert response.status == 422
    assert response.json["error"] == f"my.csv, line 5: the model fails on this text ({reason})"
    response = bad_server.upload("my.csv", table, errors="skip")
    rows = list(csv.DictReader(io.StringIO(response.body.decode(), newline="")))
    assert [(row["id"], bool(row["predicted"]), bool(row["score"]), row["error"]) for row in rows] == [
        ("1", True, True, ""), ("2", True, True, ""), ("3", False, False, reason), ("4", True, True, ""),
    ]  # fmt: skip
    response = bad_server.upload("my.jsonl", b'{"text": "%s"}\n{"text": "x"}\n' % BAD.encode(), errors="skip")
    rows = [json.loads(line) for line in response.body.splitlines()]
    assert [(row["predicted"] is None, row["error"]) for row in rows] == [(True, reason), (False, None)]
    lines = bad_server.upload("all.txt", f"{BAD}\n{BAD}\n".encode(), errors="skip").body.decode().splitlines()
    assert lines[1:] == [f"{BAD},,,,,{reason}"] * 2
    assert bad_server.request("POST", "/predict/file?errors=x", b"a", {"Content-Type": "text/plain"}).status == 422


def test_killed_model_is_replaced(run: Path, tmp_path: Path) -> None:
    """By the system while requests are in flight, which all get their answers; by a text, which alone gets none."""
    with serving(run, tmp_path, before=plant, before_args=("deadly",)) as server:
        expected = server.predict("a dull film").json
        with ThreadPoolExecutor(4) as clients:
            futures = [clients.submit(server.predict, ["a dull film"] * 3) for _ in range(4)]
            assert wait_until(lambda: metric(server, "accel_clf_requests_in_work") == 4)
            model_process(server).kill()
            assert wait_until(lambda: server.request("GET", "/health/ready").status == 503)
            assert server.request("GET", "/health/live").status == 200
            assert [future.result(60).json for future in futures] == [expected * 3] * 4
            assert server.request("GET", "/health/ready").status == 200
            responses = list(clients.map(server.predict, ["a dull film", LONG, "a dull film"]))
        assert [response.status for response in responses] == [200, 500, 200]
        assert responses[0].json == responses[2].json == expected
        assert responses[1].json["error_type"] == "Backend"
        assert "twice the model's process ended with it: it was killed by signal 9" in responses[1].json["error"]
        assert wait_until(lambda: metric(server, "accel_clf_worker_restarts_total") == 3)
        assert server.stop() == 0
        log = server.stderr.read_text()
        assert log.count("warning: the model process was killed by signal 9; another one is being started") == 3
        assert "Traceback" not in log


def test_model_that_ends_too_often_ends_the_server(run: Path, tmp_path: Path) -> None:
    """So that a supervisor can restart it."""
    with serving(run, tmp_path, before=plant_restarts, before_args=(1,)) as server:
        model_process(server).kill()
        assert wait_until(lambda: metric(server, "accel_clf_worker_restarts_total") == 1)
        model_process(server).kill()
        assert server.process.wait(30) == 1
        log = server.stderr.read_text()
        assert "the model process was killed by signal 9; it has ended 2 times in 60 s" in log
        assert "the model has failed; the reason is above" in log
        assert "Traceback" not in log


class FakeWorker:
    """A worker that answers each row with its sum, and dies of rows that say so."""

    def __init__(self, model: object) -> None:
        self.model = model
        self.end: SimpleQueue[str] = SimpleQueue()
        self.is_alive, self.is_closed = True, False

    def answer_batch(self, rows: Sequence[np.ndarray]) -> tuple[Sequence[np.ndarray], Mapping[int, Failure]]:
        if not self.is_alive or any(row[0] < 0 for row in rows):
            self.die()
            raise WorkerDiedError("died")
        return [row.sum() for row in rows], {}

    def die(self) -> None:
        self.is_alive = False
        self.end.put("died")

    def wait_for_death(self) -> str:
        return self.end.get()

    def close(self) -> None:
        self.is_closed = True
        self.end.put("")


class Factory:
    """Starts fake workers: what a test puts in their place, then good ones."""

    def __init__(self, *then: Exception | bool) -> None:
        self.workers: list[FakeWorker] = []
        self._then = list(then)

    def __call__(self) -> Any:
        of_same_run = True
        if self.workers and self._then:
            outcome = self._then.pop(0)
            if isinstance(outcome, Exception):
                raise outcome
            of_same_run = outcome
        self.workers.append(FakeWorker(SimpleNamespace(answers_as=lambda _: of_same_run)))
        return self.workers[-1]


def row(*tokens: int) -> np.ndarray:
    return np.array(tokens)


def test_rows_of_a_dead_process_are_tried_again_one_by_one() -> None:
    supervised = Supervisor(factory := Factory(WorkerDiedError("died while it loaded")))
    outputs, failures = supervised.answer_batch([row(1, 2), row(-1), row(4), row(5, 1)])
    assert [int(output) for output in outputs if output.size] == [3, 4, 6]
    assert list(failures) == [1]
    assert not failures[1].is_of_text
    assert (supervised.restarts, len(factory.workers)) == (2, 3)
    assert supervised.is_alive
    supervised.close()
    with pytest.raises(ShuttingDownError):
        supervised.answer_batch([row(1)])


def test_too_many_deaths_are_final(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    supervised = Supervisor(factory := Factory())
    for number in range(MAX_RESTARTS):
        factory.workers[-1].die()
        assert wait_until(lambda number=number: supervised.restarts == number + 1)  # type: ignore[misc]
        assert supervised.answer_batch([row(1)]) == ([1], {})
    factory.workers[-1].die()
    with pytest.raises(ShuttingDownError):
        supervised.answer_batch([row(1)])
    assert not supervised.is_alive
    assert f"it has ended {MAX_RESTARTS + 1} times" in capsys.readouterr().err
    monkeypatch.setattr(supervisor, "RESTART_SECONDS", 0.0)  # the same number over a longer time
    supervised = Supervisor(factory := Factory())
    for _ in range(MAX_RESTARTS + 1):
        supervised.answer_batch([row(-1)])
    assert wait_until(lambda: supervised.restarts == 2 * (MAX_RESTARTS + 1))
    supervised.close()


@pytest.mark.parametrize("outcome", [UserError("no such folder"), OSError("no memory"), False])
def test_what_cannot_be_replaced_is_final(outcome: Exception | bool, capsys: pytest.CaptureFixture[str]) -> None:
    """False: another model is in the folder by now, whose labels the answers would not have."""
    supervised = Supervisor(factory := Factory(outcome))
    factory.workers[-1].die()
    with pytest.raises(ShuttingDownError):
        supervised.answer_batch([row(1)])
    assert not supervised.is_alive
    assert ("the run has changed" if outcome is False else str(outcome)) in capsys.readouterr().err


def test_closing_ends_what_waits_for_a_process() -> None:
    started, may_start = threading.Event(), threading.Event()

    def start_slowly() -> Any:
        if factory.workers:
            started.set()
            may_start.wait(30)
        return factory()

    factory = Factory()
    supervised = Supervisor(start_slowly)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(supervised.answer_batch, [row(-1)])
        assert started.wait(30)
        assert not supervised.is_ready
        assert supervised.is_alive
        supervised.close()
        assert isinstance(answer.exception(30), ShuttingDownError)
    may_start.set()
    assert wait_until(lambda: len(factory.workers) == 2 and factory.workers[1].is_closed)
