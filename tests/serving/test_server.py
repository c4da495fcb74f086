"""The server as its operator has it: overload, the end, a broken model, a key."""

import base64
import http.client
import os
import re
import resource
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

from accel_clf.config.schema import ServeConfig
from tests.conftest import Cli
from tests.serving.broken import plant
from tests.serving.harness import Reply, Server, serving, until


def test_more_than_it_can(run: Path, tmp_path: Path) -> None:
    """12 clients where 4 requests may be in work: refused at once or answered, and well again when they have gone."""
    with serving(run, tmp_path, "--queue", 4, before=plant, given=("slow",)) as server:
        over, healthy = threading.Event(), []

        def watch() -> None:
            while not over.wait(0.05):
                healthy.append((server.ask("GET", "/health/ready").status, server.ask("GET", "/health/live").status))

        def client(_: int) -> list[tuple[Reply, float]]:
            found = []
            for _ in range(15):
                began = time.monotonic()
                found.append((server.predict("a dull film"), time.monotonic() - began))
                time.sleep(0.02)
            return found

        watcher = threading.Thread(target=watch)
        watcher.start()
        with ThreadPoolExecutor(12) as clients:
            told = [one for found in clients.map(client, range(12)) for one in found]
        over.set()
        watcher.join()
        assert {reply.status for reply, _ in told} == {200, 429}
        refused = [(reply, took) for reply, took in told if reply.status == 429]
        assert all(int(reply.headers["Retry-After"]) >= 1 for reply, _ in refused)
        assert sorted(took for _, took in refused)[len(refused) // 2] < 0.2, "less than a batch takes"
        assert set(healthy) == {(200, 200)}
        assert server.predict("a dull film").status == 200
        assert server.end() == 0


def test_memory_does_not_grow(run: Path, tmp_path: Path) -> None:
    with serving(run, tmp_path) as server:
        process = psutil.Process(server.process.pid)

        def requests(many: int) -> int:
            def client(_: int) -> None:
                connection = http.client.HTTPConnection("127.0.0.1", server.port)
                for number in range(many // 8):
                    body = '{"inputs": "%s"}' % ("dull " * (number % 60))
                    connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
                    assert connection.getresponse().read()
                connection.close()

            with ThreadPoolExecutor(8) as clients:
                list(clients.map(client, range(8)))
            return sum(each.memory_info().rss for each in (process, *process.children()))

        before = requests(800)
        assert requests(1600) < 1.05 * before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_end_under_load(run: Path, tmp_path: Path, number: signal.Signals) -> None:
    """Whoever has been connected is answered; whoever comes later finds nobody."""
    with serving(run, tmp_path, before=plant, given=("slow",)) as server:
        lost, answered = [], []

        def client(_: int) -> None:
            """On a connection that stays, until it is told that it was the last answer, or finds nobody."""
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
            try:
                connection.connect()
            except ConnectionError:
                return
            try:
                while True:
                    connection.request("POST", "/predict", '{"inputs": "dull"}', {"Content-Type": "application/json"})
                    reply = connection.getresponse()
                    reply.read()
                    answered.append(reply.status)
                    if reply.will_close:
                        return
            except (OSError, http.client.HTTPException) as error:
                lost.append(error)

        with ThreadPoolExecutor(24) as clients:
            running = [clients.submit(client, place) for place in range(24)]
            assert until(lambda: len(answered) > 50)
            began = time.monotonic()
            server.process.send_signal(number)
            assert until(lambda: refused(server))
            for one in running:
                one.result(60)
        assert server.process.wait(60) == 0, server.said.read_text()
        assert time.monotonic() - began < 30
        assert lost == []
        assert set(answered) == {200}
        assert "Traceback" not in server.said.read_text()


def refused(server: Server) -> bool:
    try:
        server.ask("GET", "/health/live", timeout=5)
    except OSError:
        return True
    return False


def test_twice_told_to_end(run: Path, tmp_path: Path) -> None:
    with serving(run, tmp_path, before=plant, given=("slow",)) as server, ThreadPoolExecutor(1) as client:
        asked = client.submit(server.predict, ["dull"] * 200)
        assert until(lambda: "accel_clf_requests_in_work 1.0" in server.ask("GET", "/metrics").body.decode())
        server.process.terminate()
        assert until(lambda: "ending" in server.said.read_text())
        server.process.terminate()
        assert server.process.wait(5) == 1
        assert asked.exception(60) or asked.result().status == 200


def test_the_model_fails(run: Path, tmp_path: Path) -> None:
    """Its thread is gone: not ready, and the process ends so that something can start it again."""
    with serving(run, tmp_path, before=plant, given=("dying",)) as server:
        assert server.predict("dull").status == 200
        assert server.predict("dull").status == 503
        assert server.process.wait(30) == 1
        assert "planted in the model" in server.said.read_text()


def test_the_model_is_killed(run: Path, tmp_path: Path) -> None:
    """As the system does where memory is short: noticed although nobody asks."""
    with serving(run, tmp_path) as server:
        (model,) = psutil.Process(server.process.pid).children()
        model.kill()
        assert server.process.wait(30) == 1
        assert "the model has failed" in server.said.read_text()


@pytest.mark.parametrize("signals", [[signal.SIGTERM], [signal.SIGINT, signal.SIGTERM]])
def test_the_model_ends_with_its_server_only(run: Path, tmp_path: Path, signals: list[signal.Signals]) -> None:
    """Whatever it is sent, as a terminal and an init system send to all; killed, a server leaves nobody behind."""
    with serving(run, tmp_path) as server:
        (model,) = psutil.Process(server.process.pid).children()
        for number in signals:
            model.send_signal(number)
        assert server.predict("dull").status == 200
        server.process.kill()
        psutil.wait_procs([model], 30)
        assert not model.is_running()


def test_the_model_gives_no_number(run: Path, tmp_path: Path) -> None:
    with serving(run, tmp_path, before=plant, given=("no_number",)) as server:
        reply = server.predict("dull")
        assert reply.status == 500
        assert "no number" in reply.json["error"]
        assert server.ask("GET", "/health/live").status == 200


def test_ends_whatever_its_clients_do(run: Path, tmp_path: Path) -> None:
    """Half a request, a body that is too large and goes on, more connections than files may be open: it ends."""
    low_latency = (resource.RLIMIT_NOFILE, (256, 256))
    with serving(run, tmp_path, "--grace", 20, before=resource.setrlimit, given=low_latency) as server:
        half = socket.create_connection(("127.0.0.1", server.port))
        half.sendall(b"POST /predict HTTP/1.1\r\nHo")
        large = socket.create_connection(("127.0.0.1", server.port))
        large.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\nabc")
        assert large.recv(20).startswith(b"HTTP/1.1 413")
        many = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(300)]
        began = time.monotonic()
        assert server.end() == 0, server.said.read_text()
        assert time.monotonic() - began < 15
        assert "Traceback" not in server.said.read_text()
        for one in (half, large, *many):
            one.close()


def test_it_takes_too_long(run: Path, tmp_path: Path) -> None:
    with serving(run, tmp_path, "--timeout", 0.1, before=plant, given=("slow",)) as server:
        reply = server.predict("dull")
        assert reply.status == 503
        assert reply.headers["Retry-After"]


def test_a_client_that_leaves(run: Path, tmp_path: Path) -> None:
    """Its request is given up; and the log says so, without its text."""
    with serving(run, tmp_path, "--log_requests", "true", "--batch_tokens", 1, before=plant, given=("slow",)) as server:
        with ThreadPoolExecutor(1) as other:
            long = other.submit(server.predict, ["dull"] * 10)
            assert until(lambda: "accel_clf_requests_in_work 1.0" in server.ask("GET", "/metrics").body.decode())
            with pytest.raises(TimeoutError):
                server.ask("POST", "/predict", '{"inputs": "secret"}', timeout=0.3)
            assert until(lambda: server.counted().get(("POST", "/predict", "499")) == 1)
            assert not long.done()
            assert long.result(60).status == 200
        said = server.said.read_text()
        assert re.search(r"INFO \w+ POST /predict 499 [\d.]+ ms", said)
        assert "secret" not in said


def test_a_key(run: Path, tmp_path: Path) -> None:
    with serving(run, tmp_path, ACCEL_CLF_API_KEY="sésame") as server:
        body = '{"inputs": "dull"}'
        for path, method in (
            ("/predict", "POST"),
            ("/", "GET"),
            ("/info", "GET"),
            ("/metrics", "GET"),
            ("/none", "GET"),
        ):
            reply = server.ask(method, path, body if method == "POST" else None)
            assert reply.status == 401
            assert reply.headers["WWW-Authenticate"].startswith("Basic")
        for wrong in ("Bearer x", "Bearer ", "Basic !!", "Basic " + base64.b64encode(b"sesame").decode(), "nonsense"):
            assert server.ask("POST", "/predict", body, {"Authorization": wrong}).status == 401
        basic = "Basic " + base64.b64encode("anyone:sésame".encode()).decode()
        bearer = "Bearer sésame".encode().decode("latin-1")
        for right in (basic, bearer):
            assert server.ask("POST", "/predict", body, {"Authorization": right}).status == 200
        assert server.ask("GET", "/health/live").status == server.ask("GET", "/health/ready").status == 200
        assert "sésame" not in server.said.read_text()


def test_odd_keys(run: Path, tmp_path: Path, cli: Cli) -> None:
    with serving(run, tmp_path, ACCEL_CLF_API_KEY="a=b,c=d") as server:
        assert server.ask("GET", "/info", headers={"Authorization": "Bearer a=b,c=d"}).status == 200
    done = cli("serve", run, "--port", 0, environment={**os.environ, "ACCEL_CLF_API_KEY": " "})
    assert done.returncode == 2
    assert "ACCEL_CLF_API_KEY is in the environment, and empty" in done.stderr


def test_no_such_run(cli: Cli, tmp_path: Path, run: Path) -> None:
    done = cli("serve", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    done = cli("serve", run, "--prot", 80)
    assert done.returncode == 2
    assert "did you mean --port?" in done.stderr
    done = cli("serve", run, "--precision", "int8")
    assert done.returncode == 2
    assert "--check FILE" in done.stderr
    done = cli("serve", run, "--host", "nosuch.invalid")
    assert done.returncode == 1
    assert "cannot listen on nosuch.invalid:8000" in done.stderr
    done = cli("serve", run, "--queue", 0)
    assert done.returncode == 2
    assert "queue is" in done.stderr


def test_a_port_that_is_taken(run: Path, tmp_path: Path, cli: Cli) -> None:
    with serving(run, tmp_path) as server:
        done = cli("serve", run, "--port", server.port)
        assert done.returncode == 1
        assert f"cannot listen on 127.0.0.1:{server.port}" in done.stderr
        assert "--port 0" in done.stderr


def test_int8_is_as_accurate_as_it_must_be(run: Path, tmp_path: Path, reviews: Path, cli: Cli) -> None:
    with serving(run, tmp_path, "--precision", "int8", "--check", reviews, "--max_loss", 0.5) as server:
        assert "by int8" in server.said.read_text()
        assert server.ask("GET", "/info").json["precision"] == "int8"
        assert server.predict("dull").status == 200
    assert ServeConfig(precision="int8").max_loss == 0.01


def test_any_server_can_have_the_application(run: Path) -> None:
    code = f"""
from accel_clf.serving.app import create_app
client = create_app({str(run)!r}).test_client()
reply = client.post("/predict", json={{"inputs": "dull"}})
assert reply.status_code == 200 and len(reply.json[0]) == 2
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
