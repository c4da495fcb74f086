"""Fixture: a file of pairs."""

from pathlib import Path

import pytest

from tests.pair_forms import write_pairs


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("pairs") / "pairs.csv")
