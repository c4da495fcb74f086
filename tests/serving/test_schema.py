"""The server conforms to /openapi.json: schemathesis generates valid and invalid requests and checks each response."""

import subprocess
import sys
from pathlib import Path

from tests.serving.harness import serving


def test_responses_conform_to_the_openapi_schema(run: Path, tmp_path: Path) -> None:
    with serving(run, tmp_path) as server:
        command = [
            "-m",
            "schemathesis.cli",
            "run",
            f"http://127.0.0.1:{server.port}/openapi.json",
            "--max-examples",
            "40",
        ]
        process = subprocess.run(
            [sys.executable, *command, "--seed", "1", "--no-color"],
            capture_output=True,
            text=True,
            timeout=300,
            cwd=tmp_path,
        )
        assert process.returncode == 0, process.stdout + process.stderr
