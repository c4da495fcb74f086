"""How the processes of a job find each other again when the launcher restarts them."""

import os
from collections.abc import Iterator
from typing import Any

from torch._C._distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import register_rendezvous_handler, rendezvous

RESTARTS = "restarts"  # the scheme of its URL


def _rendezvous_of_this_start(url: str, **options: Any) -> Iterator[tuple[Store, int, int]]:
    """Rendezvous as env:// does, with keys of its own for each start of a job.

    The launcher's static rendezvous keeps its store when it restarts processes, and in it the addresses of those that
    have ended, where the new ones would look for each other.
    """
    for store, rank, world_size in rendezvous("env://", **options):
        yield PrefixStore(f"start {os.environ['TORCHELASTIC_RESTART_COUNT']}", store), rank, world_size


register_rendezvous_handler(RESTARTS, _rendezvous_of_this_start)  # type: ignore[no-untyped-call]
