"""The server in operation: overload, shutdown, a broken model, the API key, and what stops it from starting."""

import base64
import csv
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from accel_clf.config.serve_schema import ServeConfig
from tests.conftest import Cli
from tests.serving.broken import LONG, plant
from tests.serving.harness import Response, Server, serving, wait_until


def test_overload_is_refused_at_once(run: Path, tmp_path: Path) -> None:
    """With 12 clients and 4 requests in flight at most, each request is answered or refused, and it recovers."""
    with serving(run, tmp_path, "--queue", 4, before=plant, before_args=("slow",)) as server:
        over = threading.Event()
        health: list[tuple[int, int]] = []

        def poll_health() -> None:
            while not over.wait(0.05):
                ready, live = server.request("GET", "/health/ready"), server.request("GET", "/health/live")
                health.append((ready.status, live.status))

        def send_requests(_: int) -> list[tuple[Response, float]]:
            timed_responses = []
            for _ in range(15):
                began = time.monotonic()
                timed_responses.append((server.predict("a dull film"), time.monotonic() - began))
                time.sleep(0.02)
            return timed_responses

        watcher = threading.Thread(target=poll_health)
        watcher.start()
        with ThreadPoolExecutor(12) as clients:
            timed_responses = [timed for client in clients.map(send_requests, range(12)) for timed in client]
        over.set()
        watcher.join()
        assert {response.status for response, _ in timed_responses} == {200, 429}
        refused = [(response, seconds) for response, seconds in timed_responses if response.status == 429]
        assert all(int(response.headers["Retry-After"]) >= 1 for response, _ in refused)
        assert sorted(seconds for _, seconds in refused)[len(refused) // 2] < 0.2, "less than a batch takes"
        assert set(health) == {(200, 200)}
        assert server.predict("a dull film").status == 200
        assert server.stop() == 0


def test_memory_does_not_grow(run: Path, tmp_path: Path) -> None:
    with serving(run, tmp_path) as server:
        process = psutil.Process(server.process.pid)

        def rss_after_requests(count: int) -> int:
            def client(_: int) -> None:
                connection = http.client.HTTPConnection("127.0.0.1", server.port)
                for number in range(count // 8):
                    body = '{"inputs": "%s"}' % ("dull " * (number % 60))
                    connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
                    assert connection.getresponse().read()
                connection.close()

            with ThreadPoolExecutor(8) as clients:
                list(clients.map(client, range(8)))
            return sum(member.memory_info().rss for member in (process, *process.children()))

        before = rss_after_requests(800)
        assert rss_after_requests(1600) < 1.05 * before


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_graceful_shutdown_under_load(run: Path, tmp_path: Path, signum: signal.Signals) -> None:
    """Every request on an open connection is answered, and new connections are refused."""
    with serving(run, tmp_path, before=plant, before_args=("slow",)) as server:
        errors, statuses = [], []

        def client(_: int) -> None:
            """Send requests on one connection until the server closes it, or refuses it."""
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
            try:
                connection.connect()
            except ConnectionError:
                return
            try:
                while True:
                    connection.request("POST", "/predict", '{"inputs": "dull"}', {"Content-Type": "application/json"})
                    response = connection.getresponse()
                    response.read()
                    statuses.append(response.status)
                    if response.will_close:
                        return
            except (OSError, http.client.HTTPException) as error:
                errors.append(error)

        with ThreadPoolExecutor(24) as clients:
            futures = [clients.submit(client, number) for number in range(24)]
            assert wait_until(lambda: len(statuses) > 50)
            began = time.monotonic()
            server.process.send_signal(signum)
            assert wait_until(lambda: is_refusing_connections(server))
            for future in futures:
                future.result(60)
        assert server.process.wait(60) == 0, server.stderr.read_text()
        assert time.monotonic() - began < 30
        assert errors == []
        assert set(statuses) == {200}
        assert "Traceback" not in server.stderr.read_text()


def is_refusing_connections(server: Server) -> bool:
    try:
        server.request("GET", "/health/live", timeout=5)
    except OSError:
        return True
    return False


def has_request_in_flight(server: Server) -> bool:
    return "accel_clf_requests_in_work 1.0" in server.request("GET", "/metrics").body.decode()


def test_second_signal_ends_it_at_once(run: Path, tmp_path: Path) -> None:
    with serving(run, tmp_path, before=plant, before_args=("slow",)) as server, ThreadPoolExecutor(1) as client:
        future = client.submit(server.predict, ["dull"] * 200)
        assert wait_until(lambda: has_request_in_flight(server))
        server.process.terminate()
        assert wait_until(lambda: "shutting down" in server.stderr.read_text())
        server.process.terminate()
        assert server.process.wait(5) == 1
        assert future.exception(60) or future.result().status == 200


@pytest.mark.parametrize("signals", [[signal.SIGTERM], [signal.SIGINT, signal.SIGTERM]])
def test_model_process_lives_as_long_as_the_server(run: Path, tmp_path: Path, signals: list[signal.Signals]) -> None:
    """It ignores the signals that a terminal and an init system send to all processes, and ends with its parent."""
    with serving(run, tmp_path) as server:
        (model,) = psutil.Process(server.process.pid).children()
        for signum in signals:
            model.send_signal(signum)
        assert server.predict("dull").status == 200
        server.process.kill()
        psutil.wait_procs([model], 30)
        assert not model.is_running()


def test_model_that_returns_nan(run: Path, tmp_path: Path) -> None:
    """Of some texts: those that share their batch, or their file, have answers."""
    with serving(run, tmp_path, before=plant, before_args=("nan",)) as server:
        response = server.predict(["dull", LONG])
        assert response.status == 500
        assert "inputs[1]: the model fails on this text (its scores are NaN or infinite)" in response.json["error"]
        assert server.predict("dull").status == 200
        headers = {"Content-Type": "text/plain"}
        lines = server.request("POST", "/predict/file?errors=skip", f"dull\n{LONG}\n".encode(), headers).body.decode()
        answers = list(csv.DictReader(lines.splitlines()))
        assert [bool(answer["predicted"]) for answer in answers] == [True, False]
        assert "NaN or infinite" in answers[1]["error"]


def test_shuts_down_whatever_its_clients_do(run: Path, tmp_path: Path) -> None:
    """With a partial request, a body that is too large and more connections than files may be open."""
    resource = pytest.importorskip("resource", reason="this system does not limit a process's files")
    file_limit = (resource.RLIMIT_NOFILE, (256, 256))
    with serving(run, tmp_path, "--grace", 20, before=resource.setrlimit, before_args=file_limit) as server:
        partial = socket.create_connection(("127.0.0.1", server.port))
        partial.sendall(b"POST /predict HTTP/1.1\r\nHo")
        large = socket.create_connection(("127.0.0.1", server.port))
        large.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\nabc")
        assert large.recv(20).startswith(b"HTTP/1.1 413")
        silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(300)]
        began = time.monotonic()
        assert server.stop() == 0, server.stderr.read_text()
        assert time.monotonic() - began < 15
        assert "Traceback" not in server.stderr.read_text()
        for connection in (partial, large, *silent):
            connection.close()


def test_timed_out_request_gets_503(run: Path, tmp_path: Path) -> None:
    with serving(run, tmp_path, "--timeout", 0.1, before=plant, before_args=("slow",)) as server:
        response = server.predict("dull")
        assert response.status == 503
        assert response.headers["Retry-After"]


def test_disconnected_client_is_abandoned_and_logged(run: Path, tmp_path: Path) -> None:
    """The log names the request, but does not contain its text."""
    flags = ("--log_requests", "true", "--batch_tokens", 1)
    with serving(run, tmp_path, *flags, before=plant, before_args=("slow",)) as server:
        with ThreadPoolExecutor(1) as other_client:
            future = other_client.submit(server.predict, ["dull"] * 10)
            assert wait_until(lambda: has_request_in_flight(server))
            with pytest.raises(TimeoutError):
                server.request("POST", "/predict", '{"inputs": "secret"}', timeout=0.3)
            assert wait_until(lambda: server.response_counts().get(("POST", "/predict", "499")) == 1)
            assert not future.done()
            assert future.result(60).status == 200
        log = server.stderr.read_text()
        assert re.search(r"INFO \w+ POST /predict 499 [\d.]+ ms", log)
        assert "secret" not in log


def test_api_key(run: Path, tmp_path: Path) -> None:
    with serving(run, tmp_path, ACCEL_CLF_API_KEY="sésame") as server:
        body = '{"inputs": "dull"}'
        for path, method in (
            ("/predict", "POST"),
            ("/", "GET"),
            ("/info", "GET"),
            ("/metrics", "GET"),
            ("/none", "GET"),
        ):
            response = server.request(method, path, body if method == "POST" else None)
            assert response.status == 401
            assert response.headers["WWW-Authenticate"].startswith("Basic")
        for credentials in (
            "Bearer x",
            "Bearer ",
            "Basic !!",
            "Basic " + base64.b64encode(b"sesame").decode(),
            "nonsense",
        ):
            assert server.request("POST", "/predict", body, {"Authorization": credentials}).status == 401
        basic = "Basic " + base64.b64encode("anyone:sésame".encode()).decode()
        bearer = "Bearer sésame".encode().decode("latin-1")
        for credentials in (basic, bearer):
            assert server.request("POST", "/predict", body, {"Authorization": credentials}).status == 200
        assert server.request("GET", "/health/live").status == server.request("GET", "/health/ready").status == 200
        assert "sésame" not in server.stderr.read_text()


def test_odd_and_empty_api_keys(run: Path, tmp_path: Path, cli: Cli) -> None:
    with serving(run, tmp_path, ACCEL_CLF_API_KEY="a=b,c=d") as server:
        assert server.request("GET", "/info", headers={"Authorization": "Bearer a=b,c=d"}).status == 200
    process = cli("serve", run, "--port", 0, environment={**os.environ, "ACCEL_CLF_API_KEY": " "})
    assert process.returncode == 2
    assert "ACCEL_CLF_API_KEY is set in the environment, but empty" in process.stderr


def test_refuses_to_start(cli: Cli, tmp_path: Path, run: Path) -> None:
    process = cli("serve", tmp_path)
    assert (process.returncode, process.stdout) == (2, "")
    assert "Traceback" not in process.stderr
    process = cli("serve", run, "--prot", 80)
    assert process.returncode == 2
    assert "did you mean --port?" in process.stderr
    process = cli("serve", run, "--precision", "int8")
    assert process.returncode == 2
    assert "--check FILE" in process.stderr
    process = cli("serve", run, "--host", "nosuch.invalid")
    assert process.returncode == 1
    assert "cannot listen on nosuch.invalid:8000" in process.stderr
    process = cli("serve", run, "--queue", 0)
    assert process.returncode == 2
    assert "queue is" in process.stderr


def test_port_in_use(run: Path, tmp_path: Path, cli: Cli) -> None:
    with serving(run, tmp_path) as server:
        process = cli("serve", run, "--port", server.port)
        assert process.returncode == 1
        assert f"cannot listen on 127.0.0.1:{server.port}" in process.stderr
        assert "--port 0" in process.stderr


def test_int8_is_served_after_the_accuracy_check(run: Path, tmp_path: Path, reviews: Path, cli: Cli) -> None:
    with serving(run, tmp_path, "--precision", "int8", "--check", reviews, "--max_loss", 0.5) as server:
        assert "in int8 on cpu" in server.stderr.read_text()
        assert server.request("GET", "/info").json["precision"] == "int8"
        assert server.predict("dull").status == 200
    assert ServeConfig(precision="int8").max_loss == 0.01


def test_create_app_works_without_waitress(run: Path) -> None:
    code = f"""
from accel_clf.serving.app import create_app
client = create_app({str(run)!r}).test_client()
response = client.post("/predict", json={{"inputs": "dull"}})
assert response.status_code == 200 and len(response.json[0]) == 2
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stderr
