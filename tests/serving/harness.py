"""A real server on loopback, in a process of its own, and a client that sees every byte."""

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

from tests.forked import Forked, command


@dataclass
class Reply:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Server:
    """A server and its address."""

    process: Forked
    port: int
    said: Path

    def ask(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, timeout: float = 60
    ) -> Reply:
        """One request on a connection of its own; what is no bytes and no string goes as JSON."""
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
            reply = connection.getresponse()
            return Reply(reply.status, reply.headers, reply.read())
        finally:
            connection.close()

    def predict(self, inputs: Any, **parameters: Any) -> Reply:
        body = {"inputs": inputs, **({"parameters": parameters} if parameters else {})}
        return self.ask("POST", "/predict", body)

    def upload(self, name: str, content: bytes, column: str = "") -> Reply:
        """A file as browsers and curl send it."""
        head = f'--x\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
        path = f"/predict/file?text={column}" if column else "/predict/file"
        kind = {"Content-Type": "multipart/form-data; boundary=x"}
        return self.ask("POST", path, head.encode() + content + b"\r\n--x--\r\n", kind)

    def counted(self) -> dict[tuple[str, str, str], int]:
        """Answers by method, path and status."""
        text = self.ask("GET", "/metrics").body.decode()
        found = re.findall(r'accel_clf_responses_total\{method="(.*?)",path="(.*?)",status="(.*?)"\} (\S+)', text)
        return {(method, path, status): int(float(count)) for method, path, status, count in found}

    def end(self, within: float = 60) -> int:
        self.process.terminate()
        return self.process.wait(within)


@contextmanager
def serving(
    run: Path,
    folder: Path,
    *flags: object,
    before: Callable[..., None] | None = None,
    given: tuple[object, ...] = (),
    **environment: str,
) -> Iterator[Server]:
    """`accel-clf serve RUN`, until the block ends; `before(*given)` runs in its process first."""
    printed, said = folder / "printed", folder / "said"
    work = command(["serve", run, "--port", 0, *flags], before, *given)
    process = Forked(work, printed, said, {**os.environ, **environment})
    address = re.compile(r"listening on http://127\.0\.0\.1:(\d+)\n")
    try:
        assert until(lambda: (printed.is_file() and address.search(printed.read_text())) or process.poll() is not None)
        found = address.search(printed.read_text())
        assert found, said.read_text()
        yield Server(process, int(found[1]), said)
    finally:
        process.kill()
        process.wait(30)


def until(holds: Callable[[], object], seconds: float = 60) -> bool:
    """Whether something comes to hold within a time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.02)
    return bool(holds())
