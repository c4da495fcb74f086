"""The contract of strategies, on virtual XLA cores with real collectives."""

import subprocess
import sys

import pytest

from tests.contract.cases import CASES


@pytest.mark.parametrize("cores", [1, 4])
@pytest.mark.parametrize("strategy", ["accelerate", "xla"])
def test_every_case(strategy: str, cores: int) -> None:
    command = [sys.executable, "-m", "tests.xla.contract", strategy, str(cores)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{case.__name__} {cores}" for case in CASES]
