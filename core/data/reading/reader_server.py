"""The process that reads untrusted files: ``python -m core.data.reading.reader_server``.

It imports the readers once, has one thread, and forks a child for every job. Forking a process
with one thread is safe, and takes milliseconds where a new interpreter takes most of a second. The
server itself never reads a file.

Protocol: standard input is a Unix socket. A job arrives as one message with the descriptor of a
socket, over which the child sends its events as lines of JSON; the server adds a last line saying
how the child ended. Any byte from the other side, or its end, stops the job. The end of standard
input (the app or command has gone) stops all jobs.
"""

import ctypes
import gc
import importlib
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

SendEvent = Callable[[Any], None]
"""Called by a job with an event of JSON types."""
Job = Callable[[dict[str, Any], SendEvent], Any]
"""What a child runs: takes a request and returns an answer, both of JSON types."""

HEADER = struct.Struct("<Q")
"""The length of a request, sent before it."""
MAX_FILE_BYTES = 400 * 2**30
"""Largest file that a child may write; what it unpacks is limited to half of that."""
_PRELOADED = (
    "core.data.reading.read_rows",
    "core.data.reading.tokenizer",
    "core.data.reading.reader_errors",
)
_PR_SET_PDEATHSIG = 1


class ReaderServer:
    """Forks a child for every job and reports how it ended."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._jobs: dict[int, socket.socket] = {}
        self._stopped: set[int] = set()
        self._woken, self._waker = socket.socketpair()
        self._waker.setblocking(False)
        self._woken.setblocking(False)
        # When a child ends, SIGCHLD writes a byte here, which wakes the select() below.
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)

    def serve(self) -> None:
        """Fork and reap children until standard input ends."""
        while True:
            by_job = {job: pid for pid, job in self._jobs.items() if pid not in self._stopped}
            ready = select.select([self._control, self._woken, *by_job], [], [])[0]
            for job in ready:
                if job in by_job:
                    self._stop(by_job[job])
            if self._woken in ready:
                with suppress(BlockingIOError):
                    self._woken.recv(4096)
            self._reap()
            if self._control in ready and not self._accept_job():
                break
        for pid in self._jobs:
            os.kill(pid, signal.SIGKILL)

    def _accept_job(self) -> bool:
        """Start the next job; return False if standard input has ended."""
        head, fds, _, _ = socket.recv_fds(self._control, HEADER.size, 1)
        if not head or not fds:
            return False
        job = socket.socket(fileno=fds[0])
        head += _receive(self._control, HEADER.size - len(head))
        request = _receive(self._control, HEADER.unpack(head)[0])
        try:
            pid = os.fork()
        except OSError:
            # No memory for another process: this job fails, the others go on.
            _send(job, {"error": {"kind": "memory"}})
            job.close()
            return True
        if pid == 0:
            self._become_child(job, json.loads(request))
        self._jobs[pid] = job
        return True

    def _become_child(self, job: socket.socket, request: dict[str, Any]) -> None:
        """Run a job, then end the process."""
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for other in (self._control, self._woken, self._waker, *self._jobs.values()):
                other.close()
            _limit_resources(request["memory"])
            os.chdir(request["folder"])
            run_job(job, request)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)

    def _stop(self, pid: int) -> None:
        """Kill the child of a job that nobody waits for; a slow disk may delay its end."""
        os.kill(pid, signal.SIGKILL)
        self._stopped.add(pid)

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    break
                self._report_exit(pid, status)

    def _report_exit(self, pid: int, status: int) -> None:
        job = self._jobs.pop(pid)
        self._stopped.discard(pid)
        _send(job, {"ended": os.waitstatus_to_exitcode(status)})
        job.close()


def _send(job: socket.socket, line: dict[str, Any]) -> None:
    """Send a line without waiting, after a line end in case the child was cut off in a line."""
    with suppress(OSError):
        job.send(f"\n{json.dumps(line)}\n".encode(), socket.MSG_DONTWAIT)


def run_job(job: socket.socket, request: dict[str, Any]) -> None:
    """Call the function that the request names; send its events, then its answer or error."""
    from core.data.reading.reader_errors import error_to_json

    def send(event: Any, kind: str = "event") -> None:
        job.sendall(json.dumps({kind: event}).encode() + b"\n")

    try:
        function: Job = getattr(importlib.import_module(request["module"]), request["function"])
        answer = function(request["request"], send)
    except Exception as error:
        send(error_to_json(error), "error")
    else:
        send(answer, "answer")


def _limit_resources(memory: int) -> None:
    """Limit what this process may take from the machine, and make it end with its parent."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # If memory runs out all the same, the kernel should kill this process, not the app.
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    for kind, limit in (
        (resource.RLIMIT_CORE, 0),
        # Private memory; mapped files do not count.
        (resource.RLIMIT_DATA, memory),
        (resource.RLIMIT_FSIZE, MAX_FILE_BYTES),
    ):
        soft, hard = resource.getrlimit(kind)
        allowed = [value for value in (limit, soft, hard) if value != resource.RLIM_INFINITY]
        resource.setrlimit(kind, (min(allowed), min(allowed)))
    devices = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(devices, fd)
    os.close(devices)


def _warm_up_kernels() -> None:
    """Load the compiled kernels for quoted text once here, instead of in every child."""
    from core.data.reading.row_ends import find_row_ends
    from core.data.reading.tokenizer import tokenize

    find_row_ends(b'"a"\n', ",", quoted=True)
    list(tokenize([b'"a",b\n'], ",", [True, True], quoted=True))


def _receive(source: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = source.recv(min(size - len(data), 2**20))
        if not piece:
            raise EOFError("the request is truncated")
        data += piece
    return data


def main() -> None:
    """Serve until standard input ends."""
    control = socket.socket(fileno=os.dup(0))
    # Ctrl-C is handled by the command that started this process; it then closes the socket.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.umask(0o077)
    for name in _PRELOADED:
        importlib.import_module(name)
    _warm_up_kernels()
    # Memory pages that the garbage collector does not touch stay shared with the children.
    gc.collect()
    gc.freeze()
    ReaderServer(control).serve()


if __name__ == "__main__":
    main()
