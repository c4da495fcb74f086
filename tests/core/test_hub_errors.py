"""The Hub is down, gated, offline or refuses a token: one screen that says what to do; case 22.

The libraries' real code talks to a server on loopback that answers as the Hub does.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from accel_clf.core.exit_codes import DATA, USAGE

TOKEN = "hf_0123456789secretsecretsecretsecret"


class Hub(BaseHTTPRequestHandler):
    """Refuses every request; the owner in the path decides how."""

    def do_GET(self) -> None:
        status, code = 500, ""
        if "gated" in self.path:
            status, code = 403, "GatedRepo"
        elif "missing" in self.path:
            status, code = 404, "RepoNotFound"
        elif "private" in self.path:
            status, code = 401, "RepoNotFound"
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
            self.send_header("X-Error-Message", f"refused {self.headers.get('Authorization')}")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def refusal(exit_code: int, environment: dict[str, str], *flags: object) -> str:
    """Return the error message of `accel-clf train`, after checking that it is short and names no token."""
    inherited = {key: value for key, value in os.environ.items() if key not in ("HF_HUB_OFFLINE", "HF_TOKEN")}
    command = [sys.executable, "-m", "accel_clf.cli", "train", *map(str, flags)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=300, env={**inherited, **environment})
    assert process.returncode == exit_code, process.stderr
    assert "Traceback" not in process.stderr
    assert TOKEN not in process.stderr + process.stdout
    message: str = process.stderr[process.stderr.index("error: ") :]
    assert len(message.splitlines()) <= 3
    return message


@pytest.mark.parametrize(
    ("name", "token", "problem", "fix"),
    [
        ("gated/model", TOKEN, "access is granted by its owners", "ask for access"),
        ("missing/model", "", "no such model on the Hub", "check the spelling"),
        ("private/model", TOKEN, "refused the token in HF_TOKEN", "hf auth whoami"),
    ],
)
def test_refused_model_names_the_fix(
    hub: str, reviews: Path, tmp_path: Path, name: str, token: str, problem: str, fix: str
) -> None:
    environment = {"HF_ENDPOINT": hub, "HF_HOME": str(tmp_path), "HF_TOKEN": token}
    message = refusal(USAGE, environment, "--model.name", name, "--data.train", reviews)
    assert f"model {name}: " in message
    assert problem in message
    assert fix in message


def test_hub_is_down(reviews: Path, tmp_path: Path) -> None:
    environment = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path), "HF_TOKEN": TOKEN}
    message = refusal(USAGE, environment, "--model.name", "some/model", "--data.train", reviews)
    assert "the Hub did not answer" in message
    assert "a local folder" in message


def test_offline_and_not_in_the_cache(reviews: Path, tmp_path: Path) -> None:
    environment = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "HF_TOKEN": TOKEN}
    message = refusal(USAGE, environment, "--model.name", "some/model", "--data.train", reviews)
    assert "HF_HUB_OFFLINE is set" in message
    message = refusal(DATA, environment, "--model.name", "demo", "--data.train", "some/data")
    assert "data set some/data: not in the local cache, and HF_HUB_OFFLINE is set" in message


def test_missing_data_set(hub: str, tmp_path: Path) -> None:
    environment = {"HF_ENDPOINT": hub, "HF_HOME": str(tmp_path), "HF_TOKEN": ""}
    message = refusal(DATA, environment, "--model.name", "demo", "--data.train", "missing/data")
    assert "data set missing/data: no such data set on the Hub" in message
