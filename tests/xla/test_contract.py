"""The contract of strategies, on virtual XLA cores with real collectives."""

from functools import partial
from pathlib import Path

import pytest

from accel_clf.config.load import load
from accel_clf.strategies import launch
from accel_clf.strategies.base import Strategy
from tests.forked import run_forked
from tests.strategies.contract_cases import CASES


def run_cases(strategy: Strategy) -> None:
    for case in CASES:
        case(strategy)
        if strategy.is_main:
            print(case.__name__, strategy.processes, flush=True)


def work(strategy: str, cores: int) -> None:
    launch.choose(load(None, {"strategy": strategy, "virtual_cores": cores}))(run_cases)


@pytest.mark.parametrize("cores", [1, 4])
@pytest.mark.parametrize("strategy", ["accelerate", "xla"])
def test_virtual_cores_fulfil_the_contract(strategy: str, cores: int, tmp_path: Path) -> None:
    process = run_forked(partial(work, strategy, cores), tmp_path)
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines() == [f"{case.__name__} {cores}" for case in CASES]
