"""/openapi.json is kept to: schemathesis makes requests of it, right ones and wrong ones, and checks every answer."""

import subprocess
import sys
from pathlib import Path

from tests.serving.harness import serving


def test_schemathesis_finds_nothing(run: Path, tmp_path: Path) -> None:
    with serving(run, tmp_path) as server:
        command = [
            "-m",
            "schemathesis.cli",
            "run",
            f"http://127.0.0.1:{server.port}/openapi.json",
            "--max-examples",
            "40",
        ]
        done = subprocess.run(
            [sys.executable, *command, "--seed", "1", "--no-color"],
            capture_output=True,
            text=True,
            timeout=300,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stdout + done.stderr
