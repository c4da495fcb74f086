"""`python -m tests.xla.contract accelerate|xla CORES`: every case of the contract on so many virtual cores."""

import sys

from accel_clf.config import load
from accel_clf.strategies import launch
from accel_clf.strategies.base import Strategy
from tests.contract.cases import CASES


def every_case(strategy: Strategy) -> None:
    for case in CASES:
        case(strategy)
        if strategy.is_main:
            print(case.__name__, strategy.processes, flush=True)


if __name__ == "__main__":
    launch.choose(load(None, {"strategy": sys.argv[1], "virtual_cores": int(sys.argv[2])}))(every_case)
