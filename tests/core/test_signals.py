"""Children of a job end with the process that has started them."""

import multiprocessing
import os
import signal
import sys
import time

import pytest

from accel_clf.core.signals import exit_when_parent_dies


def start_child(pids: "multiprocessing.queues.Queue[int]", at_once: bool) -> None:
    if os.fork() == 0:
        exit_when_parent_dies(os.getppid(), at_once)
        pids.put(os.getpid())
    time.sleep(60)


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends children with their parent on Linux only")
@pytest.mark.parametrize(("at_once", "seconds"), [(True, 0.2), (False, 5.0)])
def test_child_ends_with_its_killed_parent(at_once: bool, seconds: float) -> None:
    context = multiprocessing.get_context("spawn")
    pids: multiprocessing.queues.Queue[int] = context.Queue()
    parent = context.Process(target=start_child, args=(pids, at_once))
    parent.start()
    child = pids.get(timeout=60)
    assert is_running(child)
    os.kill(parent.pid or 0, signal.SIGKILL)
    parent.join()
    deadline = time.monotonic() + seconds
    while is_running(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_running(child)
