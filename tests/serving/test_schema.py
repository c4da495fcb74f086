"""The server conforms to /openapi.json: schemathesis generates valid and invalid requests and checks each response."""

import subprocess
import sys
from pathlib import Path

import pytest

import accel_clf
from tests.pair_forms import settings, write_pairs
from tests.serving.harness import serving


@pytest.fixture(scope="session")
def pair_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose first texts are in two columns, and which reads pairs."""
    folder = tmp_path_factory.mktemp("pairs")
    values = settings(folder, "demo", write_pairs(folder / "pairs.csv"), text=["label", "first"])
    return accel_clf.train(values).path


@pytest.mark.parametrize(
    ("fixture", "flags"),
    [("run", []), ("pair_run", ["--exclude-path", "/predict/file"])],  # what a table must be no schema can say
)
def test_responses_conform_to_the_openapi_schema(
    fixture: str, flags: list[str], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    with serving(request.getfixturevalue(fixture), tmp_path) as server:
        command = [
            "-m",
            "schemathesis.cli",
            "run",
            f"http://127.0.0.1:{server.port}/openapi.json",
            "--max-examples",
            "40",
            *flags,
        ]
        process = subprocess.run(
            [sys.executable, *command, "--seed", "1", "--no-color"],
            capture_output=True,
            text=True,
            timeout=300,
            cwd=tmp_path,
        )
        assert process.returncode == 0, process.stdout + process.stderr
