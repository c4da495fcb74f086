"""Tests of a file and a strategy share trained runs, so one worker runs them."""

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling


class ByFileAndStrategy(LoadScopeScheduling):
    """Sends the tests of a file that use one strategy to one worker."""

    def _split_scope(self, nodeid: str) -> str:
        return f"{nodeid.partition('::')[0]} {'accelerate' if 'accelerate' in nodeid else 'xla'}"


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFileAndStrategy:
    return ByFileAndStrategy(config, log)
