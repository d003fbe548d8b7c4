"""Jobs for a reader process that fail in each way a library could, and some that succeed."""

import errno
import mmap
import os
import signal
import stat
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from core.data.archives.member_choice import Member, MemberNeeded
from core.data.read_options import ColumnSource
from core.data.reading.columns_needed import ColumnsNeeded
from core.data.reading.reader_server import SendEvent
from core.errors import BadInput, UnreadableRow

PROPOSAL: dict[str, ColumnSource] = {"I1": "a", "I2": None, "C1": 3}
MEMBERS = (Member("a", 1, None, True, "x"), Member("b", 2, 3, False, "y", False))


def echo(request: dict[str, Any], tell: SendEvent) -> Any:
    """Sends the events 0 to 2, then returns the request."""
    for number in range(3):
        tell(number)
    return request


def die(request: dict[str, Any], tell: SendEvent) -> Any:
    """Ends by the requested signal."""
    os.kill(os.getpid(), request["signal"])
    time.sleep(60)


def die_in_a_word(request: dict[str, Any], tell: SendEvent) -> Any:
    """Abort in the middle of a line, as a child with damaged memory may."""
    for fd in range(3, 100):
        with suppress(OSError):
            if stat.S_ISSOCK(os.fstat(fd).st_mode):
                os.write(fd, b'{"answer": {"a')
    os.abort()


def fault(request: dict[str, Any], tell: SendEvent) -> Any:
    """A bus error: reads a memory map whose file has been truncated."""
    path = Path(request["path"])
    path.write_bytes(bytes(2**16))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 2**16) as view:
        os.truncate(path, 0)
        return view[2**15]


def hang(request: dict[str, Any], tell: SendEvent) -> Any:
    """Never returns, and ignores SIGTERM and SIGINT."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    Path(request["pid"]).write_text(str(os.getpid()))
    tell("begun")
    while True:
        time.sleep(60)


def quiet(request: dict[str, Any], tell: SendEvent) -> Any:
    """Sends events now and then, for longer than a child may be idle."""
    for _ in range(request["times"]):
        time.sleep(request["seconds"])
        tell(0)
    return "at last"


def hog(request: dict[str, Any], tell: SendEvent) -> Any:
    """Allocates memory until there is none: by NumPy, Arrow or Python."""
    kept: list[Any] = []
    makers = {
        "numpy": lambda: np.ones(2**24),
        "arrow": lambda: pa.allocate_buffer(2**27),
        "python": lambda: bytearray(2**26),
    }
    while True:
        kept.append(makers[request["of"]]())


def write_on(request: dict[str, Any], tell: SendEvent) -> Any:
    """Writes into a folder until it is killed."""
    folder = Path(request["folder"])
    number = 0
    while True:
        (folder / f"{number}").write_bytes(bytes(1000))
        number += 1
        tell(number)


def refuse(request: dict[str, Any], tell: SendEvent) -> Any:
    """Raises the requested error."""
    errors: dict[str, Exception] = {
        "BadInput": BadInput("a sentence"),
        "UnreadableRow": UnreadableRow("Row 3"),
        "ColumnsNeeded": ColumnsNeeded(
            "why", "what to do", ["a", "b"], [["1", "2"], []], {"I1": "a", "I2": None, "C1": 3}
        ),
        "MemberNeeded": MemberNeeded(
            "several", (Member("a", 1, None, True, "x"), Member("b", 2, 3, False, "y", False))
        ),
        "OSError": OSError(errno.ENOSPC, "No space left on device", "/a/b", None, "/c"),
        "numpy": OSError("10 requested and 5 written"),
        "no file": FileNotFoundError(errno.ENOENT, "No such file or directory", "/x"),
        "unicode": UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        "key": KeyError("x"),
        "threads": RuntimeError("can't start new thread"),
    }
    raise errors[request["error"]]
