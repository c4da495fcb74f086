"""Fixture: a running server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving.harness import Server, serving


@pytest.fixture(scope="module")
def server(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of the run with low limits, shared by the tests of a module."""
    flags = ("--precision", "fp32", "--max_texts", 40, "--max_megabytes", 1.5, "--max_file_megabytes", 3)
    with serving(run, tmp_path_factory.mktemp("server"), *flags) as server:
        yield server
