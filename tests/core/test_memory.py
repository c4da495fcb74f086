"""Freed memory goes back to the operating system."""

import platform

import psutil
import pytest

from accel_clf.core.memory import release_free_memory


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_gaps_are_returned() -> None:
    process, count = psutil.Process(), 100_000
    blocks = [bytes(1000) for _ in range(count)]
    last = blocks[-1]  # so that the heap does not simply end earlier
    full = process.memory_info().rss
    del blocks
    release_free_memory()
    assert full - process.memory_info().rss > count * 1000 / 2
    assert len(last) == 1000
