"""XLA cores: started together, ended together."""

import os
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from typing import Any, TypeVar

import torch_xla.distributed.xla_multiprocessing as xmp
import torch_xla.runtime as xr

from accel_clf.core.errors import CoreFailedError, Interrupted, UserError
from accel_clf.core.exit_codes import FAILED
from accel_clf.core.signals import exit_when_parent_dies


def spawn(work: Callable[[], Any]) -> None:
    """Run `work` on every core of this machine, with what this process has in memory.

    Raises:
        CoreFailedError: a core has failed, and has said why.
    """
    # By fork: rows, tokens and weights are in memory already, once. Arguments would be pickled, and copied.
    _forked.append((work, os.getpid()))
    try:
        xmp.spawn(_on_core, args=(), start_method="fork")
    except BrokenProcessPool:
        raise CoreFailedError("a process with XLA cores has ended before its work was done") from None
    finally:
        _forked.clear()


_forked: list[tuple[Callable[[], Any], int]] = []


def _on_core(ordinal: int) -> None:
    work, parent = _forked[0]
    exit_when_parent_dies(parent)
    with suppress(Interrupted):  # which the parent has heard, too
        end_together(work)


Result = TypeVar("Result")


_failing = threading.Lock()


def end_together(work: Callable[[], Result]) -> Result:
    """Run `work` on one core; where it fails, say why and end the process with its other cores.

    They wait in a collective for the one that has failed, where no exception reaches them. A machine's other processes
    are ended by the pool that started them.
    """
    try:
        return work()
    except Interrupted:  # all cores at the same place
        raise
    except BaseException as error:
        _failing.acquire()  # for good: one core speaks, the others' complaints follow from its own
        try:
            if isinstance(error, UserError) and "--debug" not in sys.argv:
                print(error, file=sys.stderr)
            else:
                print(f"XLA core {xr.global_ordinal()} has failed:", file=sys.stderr)
                traceback.print_exception(error)
            sys.stdout.flush()
            sys.stderr.flush()
        finally:  # nobody may be listening any more, which is what it may have failed for
            os._exit(error.exit_code if isinstance(error, UserError) else FAILED)


_one_at_a_time = threading.Lock()


_meetings: dict[int, threading.Barrier] = {}


def _meeting() -> threading.Barrier:
    """Of the cores of this process, which may have been forked from one with others."""
    with _one_at_a_time:
        return _meetings.setdefault(os.getpid(), threading.Barrier(int(xr.addressable_device_count())))


def in_turn(make: Callable[[], Result]) -> Result:
    """What `make` makes: on one core of this process after the other, while all the rest wait."""
    meeting = _meeting()
    meeting.wait()
    with _one_at_a_time:
        made = make()
    meeting.wait()
    return made
