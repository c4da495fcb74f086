"""SIGTERM and SIGINT while a run is in progress: the first asks it to save and stop, the second ends it at once."""

import atexit
import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from multiprocessing import RawValue, active_children
from types import FrameType

from accel_clf.core.console import log
from accel_clf.core.errors import Interrupted
from accel_clf.core.process_env import in_xla_worker, is_torchelastic

PR_SET_PDEATHSIG = 1  # of Linux: prctl(2)
ECHO = 1.0  # seconds within which a launcher may forward a signal that the terminal has sent to all processes already

_stop_signal = RawValue("i", 0)


def stop_signal() -> int:
    """Return the signal that asks the run to stop; 0 for none."""
    return int(_stop_signal.value)


@contextmanager
def defer_signals() -> Iterator[None]:
    """Only record the first signal, for `stop_signal`, while the block runs. Does nothing outside the main thread.

    Raises:
        Interrupted: at the end of the block, if a signal was received.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous_handlers = _install_handlers()
    try:
        yield
        if stop_signal():  # too late for the block to have seen it
            raise Interrupted(stop_signal())
    finally:
        for signum, handler in previous_handlers.items():
            signal.signal(signum, handler)
        _stop_signal.value = 0


def defer_signals_for_good() -> None:
    """Defer signals in a launcher's process, which knows nothing of its job: it exits with the signal's exit code."""
    pid = os.getpid()
    _install_handlers()

    def exit_as_signalled() -> None:
        if stop_signal() and os.getpid() == pid:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(Interrupted(stop_signal()).exit_code)

    atexit.register(exit_as_signalled)


def _install_handlers() -> "dict[signal.Signals, signal._HANDLER]":
    """Only record the first signal from now on; return the previous handlers."""
    # Shared with the processes that are forked from now on: cores are threads of theirs, which no signal reaches.
    global _stop_signal
    _stop_signal = RawValue("i", 0)
    handler = _make_handler()
    return {signum: signal.signal(signum, handler) for signum in (signal.SIGTERM, signal.SIGINT)}


def _make_handler() -> "signal._HANDLER":
    parent, is_launched = os.getpid(), is_torchelastic()
    times: list[float] = []  # when signals were received

    def handle(signum: int, frame: FrameType | None) -> None:
        now, is_child = time.monotonic(), in_xla_worker() or os.getpid() != parent
        is_repeated = times and not is_child and not (is_launched and now < times[0] + ECHO)
        for child in active_children():
            child.kill() if is_repeated else os.kill(child.pid or 0, signum)
        if is_repeated:
            os._exit(Interrupted(signum).exit_code)
        times.append(now)
        _stop_signal.value = signum
        if not is_child and not is_launched:
            log(f"{signal.Signals(signum).name}: saving, then stopping; a second signal stops at once")

    return handle


@cache
def exit_when_parent_dies(parent: int, at_once: bool = False) -> None:
    """Exit once `parent`, the process that has started this one for the job, has been killed.

    Otherwise this process would run on unnoticed, alongside the next start of the job.

    Args:
        parent: its process id.
        at_once: whether the kernel shall end this process, where it can (Linux), rather than a thread that looks now
            and then: the parent's lock on the run folder is free at once. Only for children of a thread that outlives
            them, since the kernel takes that thread for the parent.
    """
    if at_once and sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        sys.stderr.flush()
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="exit when parent dies").start()
