"""How the processes of a job find each other again: after the launcher has restarted them, and for a second run."""

import os
from collections.abc import Iterator
from itertools import count
from typing import Any

from torch._C._distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import register_rendezvous_handler, rendezvous

RESTARTS = "restarts"  # the scheme of its URL
_groups = count()  # of this process: a script may train several times


def _rendezvous_of_this_start(url: str, **options: Any) -> Iterator[tuple[Store, int, int]]:
    """Rendezvous as env:// does, with keys of its own for each start of a job and each group of its processes.

    The launcher's static rendezvous keeps its store when it restarts processes, and in it the addresses of those that
    have ended, where the new ones would look for each other.
    """
    prefix = f"start {os.environ['TORCHELASTIC_RESTART_COUNT']} group {next(_groups)}"
    for store, rank, world_size in rendezvous("env://", **options):
        yield PrefixStore(prefix, store), rank, world_size


register_rendezvous_handler(RESTARTS, _rendezvous_of_this_start)  # type: ignore[no-untyped-call]
