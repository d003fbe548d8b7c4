"""Where a process runs: process ids mean something on one machine alone, between its starts, and in
one container."""

import socket
import uuid
from functools import cache
from pathlib import Path


@cache
def current_place() -> str:
    """This machine's name, which start of it this is, and the container, such as
    "gpu-1/9f2c…/4026531836"."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        container = Path("/proc/self/ns/pid").readlink().name.strip("pid:[]")
    except OSError:
        boot, container = f"{uuid.getnode():x}", ""
    return f"{socket.gethostname()}/{boot}/{container}"


def machine_name(place: str) -> str:
    """The machine's name in what `here` said there."""
    return place.partition("/")[0]
