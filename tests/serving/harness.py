"""A real server on loopback, in a separate process, and a client that sees every byte."""

import http.client
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.forked import Forked, command


@dataclass
class Response:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Server:
    """A running server.

    Attributes:
        process: the process that runs `accel-clf serve`.
        port: the port that it listens on.
        stderr: the file that its standard error goes to.
    """

    process: Forked
    port: int
    stderr: Path

    def request(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, timeout: float = 60
    ) -> Response:
        """Send one request on a new connection; a body that is neither bytes nor a string is sent as JSON."""
        headers = dict(headers or {})
        if body is not None and not isinstance(body, bytes | str):
            body = json.dumps(body)
        if body is not None:
            headers.setdefault("Content-Type", "application/json")
        if isinstance(body, str):
            body = body.encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return Response(response.status, response.headers, response.read())
        finally:
            connection.close()

    def predict(self, inputs: Any, **parameters: Any) -> Response:
        """Send POST /predict."""
        body = {"inputs": inputs, **({"parameters": parameters} if parameters else {})}
        return self.request("POST", "/predict", body)

    def upload(self, name: str, content: bytes, column: str = "", **query: str) -> Response:
        """Send a file the way browsers and curl do."""
        part_headers = f'--x\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
        path = "/predict/file?" + "&".join([*([f"text={column}"] if column else []), urlencode(query)])
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        return self.request("POST", path, part_headers.encode() + content + b"\r\n--x--\r\n", headers)

    def response_counts(self) -> dict[tuple[str, str, str], int]:
        """Return the number of responses by method, path and status, from /metrics."""
        text = self.request("GET", "/metrics").body.decode()
        counters = re.findall(r'accel_clf_responses_total\{method="(.*?)",path="(.*?)",status="(.*?)"\} (\S+)', text)
        return {(method, path, status): int(float(count)) for method, path, status, count in counters}

    def stop(self, timeout: float = 60) -> int:
        """Send SIGTERM and return the exit code."""
        self.process.terminate()
        return self.process.wait(timeout)


@contextmanager
def serving(
    run: Path,
    folder: Path,
    *flags: object,
    before: Callable[..., None] | None = None,
    before_args: tuple[object, ...] = (),
    **environment: str,
) -> Iterator[Server]:
    """Run `accel-clf serve RUN` until the block ends; `before(*before_args)` is called in its process first."""
    stdout, stderr = folder / "stdout", folder / "stderr"
    work = command(["serve", run, "--port", 0, *flags], before, *before_args)
    process = Forked(work, stdout, stderr, {**os.environ, **environment})
    address = re.compile(r"listening on http://127\.0\.0\.1:(\d+)\n")
    try:
        assert wait_until(
            lambda: (stdout.is_file() and address.search(stdout.read_text())) or process.poll() is not None
        )
        match = address.search(stdout.read_text())
        assert match, stderr.read_text()
        yield Server(process, int(match[1]), stderr)
    finally:
        process.kill()
        process.wait(30)


def wait_until(condition: Callable[[], object], timeout: float = 60) -> bool:
    """Wait until a condition holds, or for `timeout` seconds, and return whether it holds."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return bool(condition())
