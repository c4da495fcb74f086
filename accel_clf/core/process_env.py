"""The role of this process in a distributed job, read from the environment."""

import os
import threading
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")

HOST_VARIABLE = "ACCEL_CLF_HOST"  # which of a TPU's hosts this is, from 0; inherited by the processes of its cores
# In this order: torch's launcher numbers processes over all machines, torch_xla numbers those of a TPU's cores over all
# hosts; the process that starts the cores knows its host; virtual cores have no host.
_RANK_VARIABLES = ("RANK", "CLOUD_TPU_TASK_ID", HOST_VARIABLE, "PJRT_LOCAL_PROCESS_RANK")

_shared_lock = threading.Lock()
_shared: dict[Hashable, tuple[Any, int]] = {}  # key -> the object, and how many cores have yet to take it


def rank() -> int:
    """Return the rank of this process among those of all machines; works with or without a strategy."""
    return next((int(os.environ[name]) for name in _RANK_VARIABLES if name in os.environ), 0)


def is_main_process() -> bool:
    """Return whether this is rank 0, the process that logs."""
    return rank() == 0


def world_size() -> int:
    """Return how many processes of the same job a launcher has started, this one included; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_distributed() -> bool:
    """Return whether a launcher has started other processes of the same job."""
    return world_size() > 1


def is_torchelastic() -> bool:
    """Return whether this process was started by torch's elastic agent, which `accelerate launch` uses for several."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def in_xla_worker() -> bool:
    """Return whether this is an XLA core that `accelerate launch` has started."""
    return os.environ.get("FORK_LAUNCHED") == "1"


def cpu_requested() -> bool:
    """Return whether the launcher's file or the user asks for the CPU even where there are accelerators."""
    return os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true")


def shared_across_cores(key: Hashable, make: Callable[[], T]) -> T:
    """Call `make` once per process and return its result on each of the process's XLA cores, which are threads.

    The last core to take the object drops it from here, so that it lives no longer than the cores use it; a later call
    with an equal key makes a new one. Outside an XLA worker there is nobody to share with: `make` is called each time.

    Args:
        key: what the cores recognize the object by.
        make: called by the first core, while the others wait.
    """
    if not in_xla_worker():
        return make()
    with _shared_lock:
        value, takers_left = _shared.pop(key) if key in _shared else (make(), _cores_of_this_process())
        if takers_left > 1:
            _shared[key] = value, takers_left - 1
    result: T = value
    return result


def _cores_of_this_process() -> int:
    """Return how many XLA cores run as threads of this process."""
    import torch_xla.runtime

    return int(torch_xla.runtime.addressable_device_count())
