"""Runs readers of untrusted files in a separate process, so that their crashes stay there.

`call` has a child of `core.data.reading.reader_server` run a function on a file. Libraries that
read untrusted bytes in C++ may abort, crash, take all memory or never return; here each of these
becomes an error with a message (ReaderFailed). Answers and errors travel as JSON, larger results as
files in a folder that the caller names.

Why not multiprocessing: its children would run app.py again. Why not fork this process: it has
threads, whose locks a fork would copy in an unknown state.

This module imports nothing slow, so that a command can `warm_up` before it imports the rest.
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
"""How long a child may go without an event. Listing a large archive unpacks all of it first."""
MEMORY_SHARE = 0.75
MIN_MEMORY_BYTES = 4 * 2**30
"""Memory limit of a child in bytes: a share of the machine's (or container's) memory, but at least
this, because Arrow sets 1 GB aside at the start. On a smaller machine the system
kills the child when memory runs out."""
MAX_LINE_BYTES = 256 * 2**20
"""Largest event or answer; 1,000 columns with examples take a few MB."""
_POLL_SECONDS = 1.0
_STOP_SECONDS = 10.0
"""How long to wait for a killed child, which a slow disk can delay."""
_CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_ENVIRONMENT = {
    # The server forks. Threads of the libraries would be missing in the children.
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}


class _Server:
    """The reader server of this process, started when first needed and restarted if it is gone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._owner = 0

    def start(self) -> None:
        """Start the server, which imports its readers in the background."""
        with self._lock:
            self._connect()

    def submit(self, request: bytes) -> socket.socket:
        """Start a job; its events arrive on the returned socket."""
        ours, theirs = socket.socketpair()
        with theirs, self._lock:
            for attempt in range(2):
                control = self._connect()
                try:
                    socket.send_fds(control, [HEADER.pack(len(request))], [theirs.fileno()])
                    control.sendall(request)
                    return ours
                except OSError:
                    # Something else ended the server while it was idle.
                    self._disconnect()
                    if attempt:
                        ours.close()
                        raise
        raise AssertionError

    def stop(self) -> None:
        """End the server and wait for it."""
        with self._lock:
            self._disconnect()

    def _connect(self) -> socket.socket:
        if self._owner != os.getpid():
            # This process is a fork of the one that started the server; it needs its own.
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
            # Its children end with it: they set PR_SET_PDEATHSIG.
            self._process.kill()
            self._process.wait()
        self._process = self._control = None


_server = _Server()


@atexit.register
def stop() -> None:
    """End the reader server; the next file starts another one."""
    _server.stop()


def warm_up() -> None:
    """Start the reader server in the background, so that the first file need not wait for it.

    An error here is ignored; it is raised when a file is read.
    """
    with suppress(OSError):
        _server.start()


def call(
    job: Job, path: Path, request: dict[str, Any], on_event: Callable[[Any], None] | None = None
) -> Any:
    """Return what ``job(request, send_event)`` returns when run in a child process.

    Args:
        job: a function of a module, found there by its name.
        path: the file that is read, for messages and for the time limit.
        request: of JSON types.
        on_event: called with each event of the job. If it raises (as on Ctrl-C), the child is ended
            before the exception leaves this function.

    Raises:
        ThawError, OSError: as the job raised them.
        ReaderFailed: the child was killed by a signal, ran out of memory, was idle for too long or
            failed unexpectedly.
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
    """Return how many bytes of private memory a child may use."""
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in _CGROUPS:
        with suppress(OSError, ValueError):
            available = min(available, int(Path(path).read_text(encoding="ascii")))
    return max(MIN_MEMORY_BYTES, int(MEMORY_SHARE * available))


def _idle_seconds(path: Path) -> float:
    """Return after how many seconds without an event a child is given up."""
    try:
        files = [*path.iterdir()] if path.is_dir() else [path]
        size = sum(file.stat().st_size for file in files)
    except (OSError, ValueError):
        # The child gives the better message about the path.
        size = 0
    return IDLE_SECONDS + IDLE_SECONDS_PER_MEGABYTE * size / 1e6


def _stop_child(connection: socket.socket) -> None:
    """End the child and wait, so that it no longer writes into a folder the caller may remove."""
    with suppress(OSError):
        connection.settimeout(_STOP_SECONDS)
        connection.sendall(b"x")
        while connection.recv(2**16):
            pass


def _receive_lines(
    connection: socket.socket, path: Path, max_idle: float
) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects that arrive, line by line.

    Raises:
        ReaderFailed: nothing arrived for `max_idle` seconds.
    """
    connection.settimeout(_POLL_SECONDS)
    rest, waited = bytearray(), 0.0
    while True:
        try:
            data = connection.recv(2**16)
        except TimeoutError:
            # Count waits instead of reading a clock: this process may have been suspended (Ctrl-Z).
            waited += _POLL_SECONDS
            if waited >= max_idle:
                raise ReaderFailed(
                    f"{path.name!r} was abandoned: reading it made no progress for"
                    f" {max_idle:,.0f} seconds. Check the disk or share that it is on, or write it"
                    " again.",
                    "no progress",
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
            # A line that was cut off by the child's death is not JSON and is dropped.
            yield from (found for line in lines if (found := _parse_line(line)) is not None)


def _parse_line(line: bytes | bytearray) -> dict[str, Any] | None:
    with suppress(ValueError, RecursionError):
        value = json.loads(line)
        return value if isinstance(value, dict) else None
    return None


def _explain_exit(code: int | None, path: Path) -> ReaderFailed:
    """Return the error for a child that ended without an answer; `code` is below 0 for a signal."""
    name = path.name
    if code is None or code >= 0:
        return ReaderFailed(
            f"The process that read {name!r} ended without an answer; try again.", f"exit {code}"
        )
    number = -code
    description = (signal.strsignal(number) or "unknown").lower()
    if number == signal.SIGKILL:
        return ReaderFailed(
            f"The process that read {name!r} was killed (signal 9), which the system does when"
            " memory runs out. Close other programs, or split the file into smaller parts; then try"
            " again.",
            "signal 9",
        )
    # Arrow also aborts on encrypted columns.
    encrypted, advice = (
        (", has encrypted columns", " without encryption") if _is_parquet(path) else ("", "")
    )
    return ReaderFailed(
        f"{name!r} ended the process that read it (signal {number}, {description}): the file is"
        f" damaged{encrypted}, or is malicious; write it again{advice}, or fetch it again.",
        f"signal {number}",
    )


def _is_parquet(path: Path) -> bool:
    with suppress(OSError), path.open("rb") as stream:
        return stream.read(4) == b"PAR1"
    return False
