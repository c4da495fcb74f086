"""Whether all machines of a job see the same output folder: rank 0 writes it, and all of them read it."""

import secrets
import time
from contextlib import suppress
from pathlib import Path

import torch

from accel_clf.core.errors import UserError
from accel_clf.strategies.base import Strategy

SECONDS_UNTIL_SEEN = 5.0  # of a file on a network disk, by another machine
POLL_SECONDS = 0.1


def check_shared(folder: Path, strategy: Strategy) -> None:
    """Check that all processes see a file that rank 0 writes into the output folder, and remove it.

    Raises:
        UserError: one does not; on all processes, and the folder is as it was.
    """
    if strategy.processes == 1:
        return
    token = secrets.randbits(48)
    if strategy.is_main:
        folder.mkdir(parents=True, exist_ok=True)
        _probe(folder, token).touch()
    token = int(strategy.gather(torch.tensor([token]))[0])
    is_seen = strategy.gather(torch.tensor([int(appears(_probe(folder, token)))])).tolist()
    if strategy.is_main:
        _probe(folder, token).unlink()
    if all(is_seen):
        return
    if strategy.is_main:
        with suppress(OSError):  # it is not empty
            folder.rmdir()
    strategy.barrier()  # the first process that fails may end rank 0's
    raise UserError(
        f"{is_seen.count(0)} of {strategy.processes} processes do not see what rank 0 writes into {folder}",
        "one output folder that all machines share",
        "put --output on a shared disk, under the same path on all machines",
    )


def appears(path: Path) -> bool:
    """Wait a moment for a file that another machine has written; return whether it is there."""
    deadline = time.monotonic() + SECONDS_UNTIL_SEEN
    while not (is_there := path.exists()) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return is_there


def _probe(folder: Path, token: int) -> Path:
    return folder / f".shared-{token:x}"
