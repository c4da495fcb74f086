"""SIGTERM and SIGINT while a run is in progress: the first asks it to save and stop, the second ends it at once."""

import atexit
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

ECHO = 1.0  # seconds in which a launcher may pass on what the terminal has sent to all already


_asked = RawValue("i", 0)


def stop_signal() -> int:
    """The signal that has asked to stop; 0 for none."""
    return int(_asked.value)


@contextmanager
def defer_signals() -> Iterator[None]:
    """Within it, the first signal is only noted, for `asked`. Outside the main thread it changes nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = _note_signals()
    try:
        yield
        if stop_signal():  # too late for whoever looks
            raise Interrupted(stop_signal())
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _asked.value = 0


def defer_signals_for_good() -> None:
    """As `deferred`, for a launcher's process that knows nothing of its job: it exits as the signal says."""
    own = os.getpid()
    _note_signals()

    def leave() -> None:
        if stop_signal() and os.getpid() == own:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(Interrupted(stop_signal()).exit_code)

    atexit.register(leave)


def _note_signals() -> "dict[signal.Signals, signal._HANDLER]":
    """From here on the first signal is noted only; the handlers that were there before."""
    # Shared with the processes forked from here on: cores are their threads, which no signal reaches.
    global _asked
    _asked = RawValue("i", 0)
    handle = _handler()
    return {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}


def _handler() -> "signal._HANDLER":
    parent, launched = os.getpid(), is_torchelastic()
    noted: list[float] = []

    def note(signum: int, frame: FrameType | None) -> None:
        now, is_child = time.monotonic(), in_xla_worker() or os.getpid() != parent
        again = noted and not is_child and not (launched and now < noted[0] + ECHO)
        for child in active_children():
            child.kill() if again else os.kill(child.pid or 0, signum)
        if again:
            os._exit(Interrupted(signum).exit_code)
        noted.append(now)
        _asked.value = signum
        if not is_child and not launched:
            log(f"{signal.Signals(signum).name}: saving, then ending; once more to end at once")

    return note


@cache
def exit_when_parent_dies(parent: int) -> None:
    """End this process, which its parent has started for the job, when the parent has been killed.

    Otherwise it would go on, unseen, beside the job's next start.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        sys.stderr.flush()
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="end with the parent").start()
