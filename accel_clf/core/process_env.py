"""What this process is among those of a job, as the environment tells."""

import os
import threading
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

Made = TypeVar("Made")
_made: dict[Hashable, Any] = {}
_one_at_a_time = threading.Lock()


def is_main_process() -> bool:
    """Whether this is the process that speaks, before and after there is a strategy that knows."""
    return os.environ.get("RANK", os.environ.get("PJRT_LOCAL_PROCESS_RANK", "0")) == "0"


def is_distributed() -> bool:
    """Whether a launcher has started others beside this one."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_torchelastic() -> bool:
    """Whether torch's elastic agent, which `accelerate launch` uses for several, has started this one."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def in_xla_worker() -> bool:
    """Whether `accelerate launch` has started XLA cores, and this is one of them."""
    return os.environ.get("FORK_LAUNCHED") == "1"


def cpu_requested() -> bool:
    """Whether the launcher's file or the user says to leave accelerators alone."""
    return os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true")


def shared_across_cores(what: Hashable, make: Callable[[], Made]) -> Made:
    """What `make` makes, shared by the cores of a process where they run already."""
    if not in_xla_worker():
        return make()
    with _one_at_a_time:
        if what not in _made:
            _made[what] = make()
        made: Made = _made[what]
    return made
