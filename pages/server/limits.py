"""Limits of the operating system on this process: open files and memory."""

import os
import resource
from contextlib import suppress
from functools import cache
from pathlib import Path

WANTED_FILES = 8192


@cache
def max_open_files() -> int:
    """Return how many files this process may open.

    The soft limit (often 1,024) is raised as far as allowed.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < WANTED_FILES:
        raised = WANTED_FILES if hard == resource.RLIM_INFINITY else min(WANTED_FILES, hard)
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
            soft = raised
    return WANTED_FILES if soft == resource.RLIM_INFINITY else soft


def max_memory_bytes() -> int:
    """Return the memory this process may use: the machine's, or the container's limit."""
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    with suppress(OSError, ValueError):
        sizes.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(sizes)
