"""The contract of strategies, on virtual XLA cores with real collectives."""

from functools import partial
from pathlib import Path

import pytest

from accel_clf.config.load import load
from accel_clf.strategies import launch
from accel_clf.strategies.base import Strategy
from tests.forked import run_forked
from tests.strategies.contract_cases import CASES


def every_case(strategy: Strategy) -> None:
    for case in CASES:
        case(strategy)
        if strategy.is_main:
            print(case.__name__, strategy.processes, flush=True)


def work(strategy: str, cores: int) -> None:
    launch.choose(load(None, {"strategy": strategy, "virtual_cores": cores}))(every_case)


@pytest.mark.parametrize("cores", [1, 4])
@pytest.mark.parametrize("strategy", ["accelerate", "xla"])
def test_every_case(strategy: str, cores: int, tmp_path: Path) -> None:
    done = run_forked(partial(work, strategy, cores), tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{case.__name__} {cores}" for case in CASES]
