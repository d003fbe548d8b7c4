"""The process that reads strangers' files: `python -m core.data.reading.reader_server`, its standard input
a Unix socket.

It has imported the readers, has one thread, and forks a child for every job: a fork of a process of
one thread is safe, and takes milliseconds where a fresh interpreter takes most of a second. It
reads no file itself. A job comes as one message with the descriptor of a socket, over which the
child sends its events as lines of JSON; the last line, how the child ended, is this process's own.
Any byte, or the end, coming from the other side stops the job. The end of standard input (the app
or command is gone) stops all of them.
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
"""Called by a job with anything that JSON can hold."""
Job = Callable[[dict[str, Any], SendEvent], Any]
"""What a child does: from a request of JSON types to an answer of JSON types."""

HEADER = struct.Struct("<Q")
"""Before every request: its bytes."""
MAX_FILE_BYTES = 400 * 2**30
"""Bytes that a child may write into one file; what it unpacks is held to half of it."""
_PRELOADED = (
    "core.data.reading.read_rows",
    "core.data.reading.tokenizer",
    "core.data.reading.reader_errors",
)
_PR_SET_PDEATHSIG = 1


class ReaderServer:
    """The jobs that are under way, by the process id of their child."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._jobs: dict[int, socket.socket] = {}
        self._stopped: set[int] = set()
        self._woken, self._waker = socket.socketpair()
        self._waker.setblocking(False)
        self._woken.setblocking(False)
        # A child that ends writes a byte here, which ends the wait below.
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)

    def serve(self) -> None:
        """Forks and reaps until standard input ends."""
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
        """Begins the next job; False where there is none any more."""
        head, fds, _, _ = socket.recv_fds(self._control, HEADER.size, 1)
        if not head or not fds:
            return False
        job = socket.socket(fileno=fds[0])
        head += _receive(self._control, HEADER.size - len(head))
        request = _receive(self._control, HEADER.unpack(head)[0])
        try:
            pid = os.fork()
        except OSError:
            # No room for one more process, which ends this job and not the others.
            _send(job, {"error": {"kind": "memory"}})
            job.close()
            return True
        if pid == 0:
            self._become_child(job, json.loads(request))
        self._jobs[pid] = job
        return True

    def _become_child(self, job: socket.socket, request: dict[str, Any]) -> None:
        """Carries out a job and ends the process."""
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
        """Kills the child of a job on whose other side nobody waits any more; a disk may hold it up
        before it ends."""
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
    """Sends a line of its own, whatever the child was in the middle of; nobody is waited for."""
    with suppress(OSError):
        job.send(f"\n{json.dumps(line)}\n".encode(), socket.MSG_DONTWAIT)


def run_job(job: socket.socket, request: dict[str, Any]) -> None:
    """Calls the function that the request names and sends its events, then its answer or its
    error."""
    from core.data.reading.reader_errors import error_to_json

    def tell(event: Any, kind: str = "event") -> None:
        job.sendall(json.dumps({kind: event}).encode() + b"\n")

    try:
        work: Job = getattr(importlib.import_module(request["module"]), request["function"])
        answer = work(request["request"], tell)
    except Exception as error:
        tell(error_to_json(error), "error")
    else:
        tell(answer, "answer")


def _limit_resources(memory: int) -> None:
    """Bounds what this process can take from the machine, and has it end with its parent."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # Where memory runs out all the same, this process goes first, and not the app.
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    for kind, most in (
        (resource.RLIMIT_CORE, 0),
        # Private memory, without the maps of files.
        (resource.RLIMIT_DATA, memory),
        (resource.RLIMIT_FSIZE, MAX_FILE_BYTES),
    ):
        soft, hard = resource.getrlimit(kind)
        allowed = [one for one in (most, soft, hard) if one != resource.RLIM_INFINITY]
        resource.setrlimit(kind, (min(allowed), min(allowed)))
    devices = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(devices, fd)
    os.close(devices)


def _warm_up_kernels() -> None:
    """Has the compiled loops of quoted text loaded here, once, and not in every child."""
    from core.data.reading.row_ends import find_row_ends
    from core.data.reading.tokenizer import tokenize

    find_row_ends(b'"a"\n', ",", quoted=True)
    list(tokenize([b'"a",b\n'], ",", [True, True], quoted=True))


def _receive(source: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = source.recv(min(size - len(data), 2**20))
        if not piece:
            raise EOFError("the request breaks off")
        data += piece
    return data


def main() -> None:
    """Serves until standard input ends."""
    control = socket.socket(fileno=os.dup(0))
    # Ctrl-C is for the command that started this process, which then closes the socket.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.umask(0o077)
    for name in _PRELOADED:
        importlib.import_module(name)
    _warm_up_kernels()
    # Pages that the collector does not write to stay shared with every child.
    gc.collect()
    gc.freeze()
    ReaderServer(control).serve()


if __name__ == "__main__":
    main()
