"""How the processes of a job find each other again when the launcher restarts them."""

import os
from collections.abc import Iterator
from typing import Any

from torch._C._distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import register_rendezvous_handler, rendezvous

RESTARTS = "restarts"


def _of_this_start(url: str, **options: Any) -> Iterator[tuple[Store, int, int]]:
    """env://, with names of its own for each start of a job.

    The launcher's static rendezvous keeps its store when it starts processes again, and with it the addresses of those
    that are gone, where the new ones would look for each other.
    """
    for store, process, processes in rendezvous("env://", **options):
        yield PrefixStore(f"start {os.environ['TORCHELASTIC_RESTART_COUNT']}", store), process, processes


register_rendezvous_handler(RESTARTS, _of_this_start)  # type: ignore[no-untyped-call]
