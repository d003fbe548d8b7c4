"""Reading a stranger's file in a process of its own: whatever becomes of it, this one lives on.

`call` has a child of core.data.reading.reader_server carry out a function on a file. Libraries that read
strangers' bytes in C++ may abort, fault, take all memory or never come back; here that is a
sentence (ReaderFailed). Answers and errors come as JSON, larger results as files in a folder that
the caller names. Not multiprocessing, whose children run app.py again, and not a fork of this
process, which has threads.

This module imports nothing that takes long, so that a command can `warm_up` before it imports the
rest.
"""

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from core.data.reading.reader_server import HEADER, Job
from core.errors import ReaderFailed
from core.workspace import PROJECT

IDLE_SECONDS = 120.0
IDLE_SECONDS_PER_MEGABYTE = 3.0
"""How long a child may say nothing: listing a large archive unpacks all of it without a word."""
MEMORY_SHARE = 0.75
MIN_MEMORY_BYTES = 4 * 2**30
"""Bytes a child may have: a share of the machine's (or container's) memory, and never less than
this, of which Arrow sets 1 GB aside before it needs any. On a smaller machine the system ends the
child where memory runs out."""
MAX_LINE_BYTES = 256 * 2**20
"""Bytes of an event or answer; columns of 1,000 names with examples take some MB."""
_POLL_SECONDS = 1.0
_STOP_SECONDS = 10.0
"""Seconds that a child which was killed may need, where a disk holds it up."""
_CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_ENVIRONMENT = {
    # Threads that live when a process forks are missing in its child.
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}


class _Server:
    """The reader server of this process, started when it is first needed, and anew where it is
    gone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._owner = 0

    def start(self) -> None:
        """Has the server import its readers in the background."""
        with self._lock:
            self._connect()

    def submit(self, request: bytes) -> socket.socket:
        """Begins a job; its events come from the socket."""
        ours, theirs = socket.socketpair()
        with theirs, self._lock:
            for attempt in range(2):
                control = self._connect()
                try:
                    socket.send_fds(control, [HEADER.pack(len(request))], [theirs.fileno()])
                    control.sendall(request)
                    return ours
                except OSError:
                    # It was ended from outside while it waited.
                    self._disconnect()
                    if attempt:
                        ours.close()
                        raise
        raise AssertionError

    def stop(self) -> None:
        """Ends the server and waits for it."""
        with self._lock:
            self._disconnect()

    def _connect(self) -> socket.socket:
        if self._owner != os.getpid():
            # A fork of the process that started it has a server of its own.
            self._process = self._control = None
        if self._control is None or self._process is None or self._process.poll() is not None:
            self._disconnect()
            self._control, theirs = socket.socketpair()
            with theirs:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "core.data.reading.reader_server"],
                    cwd=PROJECT,
                    env={**os.environ, **_ENVIRONMENT},
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
            self._owner = os.getpid()
        return self._control

    def _disconnect(self) -> None:
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            # Its children end with it.
            self._process.kill()
            self._process.wait()
        self._process = self._control = None


_server = _Server()


@atexit.register
def stop() -> None:
    """Ends the reader server; the next file starts another one."""
    _server.stop()


def warm_up() -> None:
    """Starts the reader server if it is not there yet, so that the first file need not wait for it;
    returns at once.

    What keeps it from starting is said when a file is read.
    """
    with suppress(OSError):
        _server.start()


def call(
    job: Job, path: Path, request: dict[str, Any], on_event: Callable[[Any], None] | None = None
) -> Any:
    """What `job(request, tell)` answers, in a process that may die of it; job: a function of a
    module, by its name.

    path: the file that is read, for sentences and the time it may take. on_event: called with what
    the job tells; what it raises, as any exception here (Ctrl-C), ends the child before it leaves
    this function. Errors of Thaw and of the system are raised as they would be without another
    process. ReaderFailed where the child was ended by a signal, ran out of memory, said nothing for
    too long or failed in a way nobody expected.
    """
    from core.data.reading.reader_errors import error_from_json

    memory = memory_limit()
    message = {
        "module": job.__module__,
        "function": job.__name__,
        "request": request,
        "folder": str(Path.cwd()),
        "memory": memory,
    }
    connection = _server.submit(json.dumps(message).encode())
    with connection:
        try:
            for line in _receive_lines(connection, path, _idle_seconds(path)):
                if "ended" in line:
                    raise _explain_exit(line["ended"], path)
                if "error" in line:
                    raise error_from_json(line["error"], path, memory)
                if "answer" in line:
                    return line["answer"]
                if on_event and "event" in line:
                    on_event(line["event"])
        except BaseException:
            _stop_child(connection)
            raise
    raise _explain_exit(None, path)


def memory_limit() -> int:
    """Bytes of private memory that a child may have."""
    most = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for place in _CGROUPS:
        with suppress(OSError, ValueError):
            most = min(most, int(Path(place).read_text(encoding="ascii")))
    return max(MIN_MEMORY_BYTES, int(MEMORY_SHARE * most))


def _idle_seconds(path: Path) -> float:
    """Seconds without a word after which a child is given up."""
    try:
        files = [*path.iterdir()] if path.is_dir() else [path]
        size = sum(one.stat().st_size for one in files)
    except (OSError, ValueError):
        # The child says best what is wrong with the path.
        size = 0
    return IDLE_SECONDS + IDLE_SECONDS_PER_MEGABYTE * size / 1e6


def _stop_child(connection: socket.socket) -> None:
    """Ends the child and waits for it, so that nothing writes into a folder that the caller is
    about to remove."""
    with suppress(OSError):
        connection.settimeout(_STOP_SECONDS)
        connection.sendall(b"x")
        while connection.recv(2**16):
            pass


def _receive_lines(connection: socket.socket, path: Path, quiet: float) -> Iterator[dict[str, Any]]:
    """The objects that come, line by line, up to the end; ReaderFailed after so many seconds
    without one."""
    connection.settimeout(_POLL_SECONDS)
    rest, waited = bytearray(), 0.0
    while True:
        try:
            data = connection.recv(2**16)
        except TimeoutError:
            # Waits are counted and no clock is read: this process may have been stopped (Ctrl-Z)
            # meanwhile.
            waited += _POLL_SECONDS
            if waited >= quiet:
                raise ReaderFailed(
                    f"{path.name!r} was given up: reading it went on for {quiet:,.0f} seconds"
                    " without coming any further. Check the disk or share that it lies on, or"
                    " write it again.",
                    "no word",
                ) from None
            continue
        if not data:
            return
        waited = 0.0
        rest += data
        if len(rest) > MAX_LINE_BYTES:
            raise ReaderFailed(
                f"{path.name!r} has names or cells of more bytes than can be shown.", "too much"
            )
        if b"\n" in data:
            *lines, rest = rest.split(b"\n")
            # The line that a child died in is no JSON.
            yield from (found for line in lines if (found := _parse_line(line)) is not None)


def _parse_line(line: bytes | bytearray) -> dict[str, Any] | None:
    with suppress(ValueError, RecursionError):
        found = json.loads(line)
        return found if isinstance(found, dict) else None
    return None


def _explain_exit(code: int | None, path: Path) -> ReaderFailed:
    """The sentence for a child that ended without an answer. code: its exit status, below 0 the
    signal."""
    name = path.name
    if code is None or code >= 0:
        return ReaderFailed(
            f"The process that read {name!r} ended without a word; try again.", f"exit {code}"
        )
    number = -code
    words = (signal.strsignal(number) or "unknown").lower()
    if number == signal.SIGKILL:
        return ReaderFailed(
            f"The process that read {name!r} was killed (signal 9), which is what systems do where"
            " memory runs out. Close what else runs, or write the file in smaller parts; then try"
            " again.",
            "signal 9",
        )
    # Arrow ends the process over columns that are encrypted, too.
    encrypted, advice = (
        (", has encrypted columns", " without encryption") if _is_parquet(path) else ("", "")
    )
    return ReaderFailed(
        f"{name!r} ended the process that read it (signal {number}, {words}): the file is"
        f" damaged{encrypted}, or was made to do harm; write it again{advice}, or fetch it anew.",
        f"signal {number}",
    )


def _is_parquet(path: Path) -> bool:
    with suppress(OSError), path.open("rb") as stream:
        return stream.read(4) == b"PAR1"
    return False
