"""Identify where a process runs.

A process id has a meaning only on one machine, until its restart, and in one container.
"""

import socket
import uuid
from functools import cache
from pathlib import Path


@cache
def current_location() -> str:
    """Return machine, boot and container of this process, such as "gpu-1/9f2c…/4026531836"."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        container = Path("/proc/self/ns/pid").readlink().name.strip("pid:[]")
    except OSError:
        boot, container = f"{uuid.getnode():x}", ""
    return f"{socket.gethostname()}/{boot}/{container}"


def machine_name(location: str) -> str:
    """Return the machine's name in a `current_location`.

    >>> machine_name("gpu-1/9f2c/4026531836")
    'gpu-1'
    """
    return location.partition("/")[0]
