"""Memory that the C library keeps for later, returned to the operating system."""

import ctypes
from contextlib import suppress


def release_free_memory() -> None:
    """Return freed memory to the operating system, where the C library can (glibc).

    The tensors of two steps differ in size, and glibc keeps the gaps. Kept for good, they would count beside
    what comes after the steps: the copies that are saved, and the model that is read back.
    """
    with suppress(OSError, AttributeError, TypeError):  # another C library; no name for this process on Windows
        ctypes.CDLL(None).malloc_trim(0)
