"""A bound on memory: a request that this machine cannot meet fails, rather than that the system kills the process."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def bounded_memory() -> Iterator[None]:
    """Inside, MemoryError comes before the system runs out; where the system has no such bound, nothing changes."""
    try:
        import resource  # not on Windows
    except ImportError:
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_DATA)
    bounds = [available(), *(limit for limit in before if limit != resource.RLIM_INFINITY)]
    with suppress(OSError, ValueError):  # a system that lets nobody change it
        resource.setrlimit(resource.RLIMIT_DATA, (min(bounds), before[1]))
    try:
        yield
    finally:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_DATA, before)


def available() -> int:
    """Bytes that can be had now; all of the machine's, where it does not tell."""
    try:
        told = re.search(r"MemAvailable:\s*(\d+) kB", Path("/proc/meminfo").read_text())
    except OSError:
        told = None
    return int(told[1]) << 10 if told else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
