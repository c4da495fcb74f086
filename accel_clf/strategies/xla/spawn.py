"""XLA cores: started together, ended together."""

import faulthandler
import os
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from typing import Any, TypeVar

import torch_xla.debug.profiler as xp
import torch_xla.distributed.xla_multiprocessing as xmp
import torch_xla.runtime as xr

from accel_clf.core.errors import CoreFailedError, Interrupted, UserError
from accel_clf.core.exit_codes import FAILED
from accel_clf.core.signals import exit_when_parent_dies

T = TypeVar("T")
_forked_work: list[tuple[Callable[[], Any], int]] = []  # what the cores will run, and their parent's process id
_failing = threading.Lock()
core_lock = threading.Lock()  # held by one core of this process at a time
_barriers: dict[int, threading.Barrier] = {}  # by process id: a process may have been forked from one with cores
_made_once: list[Any] = []

# torch_xla's loaders look for JAX at each batch, by way of their traces, and set a variable for that moment: in threads
# of all cores, while others read the environment in native code, where some runs would crash. Nothing here needs JAX.
xp.maybe_get_jax = lambda log=True: None


def spawn(work: Callable[[], Any]) -> None:
    """Run `work` on every core of this machine, with what this process has in memory.

    Raises:
        CoreFailedError: a core has failed, and has said why.
    """
    # By fork: rows, tokens and weights are in memory already, once. Arguments would be pickled, and copied.
    _forked_work.append((work, os.getpid()))
    try:
        xmp.spawn(_run_on_core, args=(), start_method="fork")
    except BrokenProcessPool:
        raise CoreFailedError("a process with XLA cores has ended before its work was done") from None
    finally:
        _forked_work.clear()


def _run_on_core(ordinal: int) -> None:
    work, parent = _forked_work[0]
    faulthandler.enable()  # a crash in native code would end all cores without a word
    exit_when_parent_dies(parent, at_once=True)
    with suppress(Interrupted):  # which the parent has received, too
        end_together(work)


def end_together(work: Callable[[], T]) -> T:
    """Run `work` on one core; where it fails, say why and end the process with its other cores.

    They wait in a collective for the one that has failed, where no exception reaches them. A machine's other processes
    are ended by the pool that started them.
    """
    try:
        return work()
    except Interrupted:  # raised by all cores at the same point
        raise
    except BaseException as error:
        _failing.acquire()  # for good: one core speaks, the others' errors follow from its own
        try:
            if isinstance(error, UserError) and "--debug" not in sys.argv:
                print(error, file=sys.stderr)
            else:
                print(f"XLA core {xr.global_ordinal()} has failed:", file=sys.stderr)
                traceback.print_exception(error)
            sys.stdout.flush()
            sys.stderr.flush()
        finally:  # the stream may be closed, which may be what has failed
            os._exit(error.exit_code if isinstance(error, UserError) else FAILED)


def _barrier() -> threading.Barrier:
    """Return the barrier of the cores of this process."""
    with core_lock:
        return _barriers.setdefault(os.getpid(), threading.Barrier(int(xr.addressable_device_count())))


def in_turn(make: Callable[[], T]) -> T:
    """Call `make` on one core of this process after the other, while all the rest wait."""
    barrier = _barrier()
    barrier.wait()
    with core_lock:
        result = make()
    barrier.wait()
    return result


def once(make: Callable[[], T]) -> T:
    """Call `make` on one core of this process, and return its result on all of them."""
    barrier = _barrier()
    if barrier.wait() == 0:
        _made_once.append(make())
    barrier.wait()
    result: T = _made_once[0]
    if barrier.wait() == 0:
        _made_once.clear()
    return result
