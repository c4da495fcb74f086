"""When the groups of processes that a job had are freed: at the process's end, before the interpreter is taken down.

A thread of gloo's group frees the tensors of its last collective, for which it needs the interpreter's lock. Where the
group is freed at once, it may wait for that thread with the lock held; and where it outlives the interpreter, the
thread that asks for the lock aborts the process.
"""

import atexit
import gc

import torch
from torch.distributed import ProcessGroup

_closed: list[tuple[object, ProcessGroup | None]] = []


def keep_until_exit(holder: object, group: ProcessGroup | None) -> None:
    """Keep a group that has done its work, and what refers to it."""
    _closed.append((holder, group))


@atexit.register
def _free_groups() -> None:
    """Free all groups, without the interpreter's lock: so do gloo's own objects, where nothing else holds them."""
    groups = [group for _, group in _closed]
    if torch.distributed.is_initialized():
        groups.append(torch.distributed.group.WORLD)
        torch.distributed.destroy_process_group()
    backends = [group._get_backend(torch.device("cpu")) for group in groups if group and group.name() == "gloo"]
    groups.clear()
    _closed.clear()
    gc.collect()  # DDP's models refer to themselves
    backends.clear()
