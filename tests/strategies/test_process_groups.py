"""Processes that end right after their last collective."""

import os
import subprocess
import sys
from contextlib import ExitStack

import pytest

from tests.conftest import REPOSITORY
from tests.parity.test_processes import free_port

GATHER_AND_END = """
import sys
import torch
from accel_clf.strategies.accelerate import AccelerateStrategy

strategy = AccelerateStrategy("fp32")
sys.setswitchinterval(100)  # gloo's thread gets the interpreter's lock when this one lets go of it, no sooner
for _ in range(20):
    strategy.gather(torch.ones(3))
if sys.argv[1] == "closed":
    strategy.close()
"""


@pytest.mark.parametrize("group", ["open", "closed"])
def test_processes_end_in_peace(group: str) -> None:
    """Neither waits for the other's lock, nor is it aborted by a thread that asks for one that is gone."""
    rendezvous = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    environment = {**os.environ, **rendezvous, "ACCELERATE_USE_CPU": "true", "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", GATHER_AND_END, group]
    with ExitStack() as stack:
        ranks = [
            stack.enter_context(
                subprocess.Popen(
                    command, env={**environment, "RANK": rank, "LOCAL_RANK": rank}, stderr=subprocess.PIPE, text=True
                )
            )
            for rank in ("0", "1")
        ]
        outputs = [rank.communicate(timeout=120)[1] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], outputs
