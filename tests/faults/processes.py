"""Workers, apps and commands forked from a process that has torch imported: a restart costs
milliseconds, not seconds.

`python -m tests.faults.processes LOG` serves requests, a JSON object a line on standard input, an
answer a line on standard output; `Processes` is its client. Where Debian's libfaketime is
installed, the clock of all these processes can be set while they run; the monotonic clock and the
times of files stay, as when a machine's clock is set.
"""

import contextlib
import fcntl
import io
import json
import os
import select
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.data.simulate import simulate
from core.jobs.run_result import RunResult
from core.workspace import PROJECT, Workspace

FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
"""Debian's package libfaketime."""


class Processes:
    """The client: starts, stops, wakes and kills; every process is a child of the server."""

    def __init__(self, folder: Path) -> None:
        self.clock = folder / "clock"
        self.journal = folder / "journal"
        self.journal.touch()
        self.set_clock(0)
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        if FAKETIME:
            environment |= {
                "LD_PRELOAD": str(FAKETIME),
                "FAKETIME_TIMESTAMP_FILE": str(self.clock),
                "FAKETIME_NO_CACHE": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                "NO_FAKE_STAT": "1",
            }
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.processes", str(folder)],
            cwd=PROJECT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # Ctrl-C reaches the campaign alone, which then ends what it has started.
            start_new_session=True,
        )
        self.alive: set[int] = set()
        self._ended: dict[int, int | None] = {}

    def set_clock(self, seconds: int) -> None:
        """Sets the clock of all processes to `seconds` after (or, below 0, before) the true
        time."""
        part = self.clock.with_suffix(".part")
        part.write_text(f"{seconds:+d}\n")
        part.replace(self.clock)

    def start(self, what: str, *arguments: str) -> int:
        """Starts one of ACTIONS in a process of its own; its pid."""
        pid = int(self._ask("start", what, *arguments))
        self.alive.add(pid)
        return pid

    def wait(self, pid: int, seconds: float) -> int | None:
        """The exit status (below 0: the signal); None where it has not ended within `seconds`."""
        if pid in self.alive:
            self._ended[pid] = self._ask("wait", pid, seconds)
            if self._ended[pid] is not None:
                self.alive.discard(pid)
        return self._ended[pid]

    def kill(self, pid: int) -> None:
        """Ends it by SIGKILL, and whatever it has started, and waits until it is dead."""
        if pid in self.alive:
            os.killpg(pid, signal.SIGKILL)
            assert self.wait(pid, 30) is not None

    def signal(self, pid: int, number: signal.Signals) -> None:
        """Sends a signal to it and whatever it has started, unless it is dead."""
        if self.wait(pid, 0) is None:
            os.killpg(pid, number)

    def started(self, root: Path) -> dict[str, int]:
        """How often each run of the workspace at `root` was started."""
        mine, counted = str(root.stat().st_ino), dict[str, int]()
        for line in self.journal.read_text().splitlines():
            word, inode, run = line.split()
            assert word != "twice", f"{run} was executed twice at once"
            if inode == mine:
                counted[run] = counted.get(run, 0) + 1
        return counted

    def close(self) -> None:
        """Kills everything."""
        for pid in [*self.alive]:
            self.kill(pid)
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait(30)
        self._server.stdout.close()

    def _ask(self, *words: Any) -> Any:
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.write(json.dumps(words) + "\n")
        self._server.stdin.flush()
        answer = self._server.stdout.readline()
        assert answer, "the process server has died"
        return json.loads(answer)


def worker(folder: Path, root: str, linger: str) -> None:
    """A worker of the queue cpu; each run holds a lock, so two at once would be in the journal."""
    from core.jobs.reporter import Reporter
    from core.jobs.store import Run
    from core.runs import dispatch
    from core.runs import worker as worker_module
    from core.training import loop

    def execute(workspace: Workspace, run: Run, reporter: Reporter) -> RunResult:
        place = f"{workspace.root.stat().st_ino} {run.id}\n"
        with (
            (folder / "journal").open("a") as journal,
            (folder / f"alone {place.strip()}").open("a") as alone,
        ):
            word = "begun"
            try:
                fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                word = "twice"
            journal.write(f"{word} {place}")
            journal.flush()
            return dispatch.execute(workspace, run, reporter)

    # Checkpoints by time within an epoch as well, though these runs take less than a second.
    loop.CHECKPOINT_SECONDS = 0.02
    worker_module.run_worker(Workspace(Path(root)), "cpu", execute, idle_timeout=float(linger))


def app(_: Path, root: str) -> None:
    """What every open page of an app does, without end."""
    from core.errors import ThawError
    from core.jobs.store import RunStore
    from core.runs.launch import refresh_statuses

    workspace = Workspace(Path(root))
    while True:
        # A full disk, or a workspace that is being swapped: the page says so and is drawn again.
        with contextlib.suppress(ThawError, OSError, sqlite3.Error):
            store = RunStore(workspace)
            refresh_statuses(workspace, store)
            for run in store.list():
                store.points(run.id)
        time.sleep(0.05)


def command(_: Path, *words: str) -> None:
    """`python -m core …`, with the reader server already running: it takes as long to start as
    torch."""
    from core.cli.parser import main
    from core.data.reading import reader_process

    reader_process._server._owner = os.getpid()
    os._exit(main(words))


ACTIONS: dict[str, Callable[..., None]] = {"worker": worker, "app": app, "command": command}


def serve(folder: Path) -> None:
    """Answers requests until standard input ends."""
    # The preloaded library cannot sleep until a moment of the monotonic clock, as time.sleep does.
    time.sleep = lambda seconds: select.select([], [], [], float(seconds)) and None
    from core.runs import launch

    # Whoever finds a dead worker's run would start a worker for those after it; here that is the
    # campaign's part. Before anything takes it over by name.
    launch.ensure_worker = lambda *_: None
    from core.runs.worker import preload_torch

    preload_torch()
    _warm_up(folder / "warm")
    for line in sys.stdin:
        word, *rest = json.loads(line)
        answer = _fork(folder, rest) if word == "start" else _wait(*rest)
        print(json.dumps(answer), flush=True)


def _warm_up(folder: Path) -> None:
    """Has everything imported, compiled and started that ingesting and preparing take."""
    from core.cli.parser import main

    rows = folder / "rows.tsv"
    simulate(rows, 200, "both", seed=1)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        main(["--workspace", str(folder), "ingest", str(rows), "--name", "warm"])


def _fork(folder: Path, rest: list[str]) -> int:
    pid = os.fork()
    if pid:
        # From both sides, since either may run first.
        with contextlib.suppress(OSError):
            os.setpgid(pid, pid)
        return pid
    status = 1
    try:
        with contextlib.suppress(OSError):
            os.setpgid(0, 0)
        log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        ACTIONS[rest[0]](folder, *rest[1:])
        status = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _wait(pid: int, seconds: float) -> int | None:
    until = time.monotonic() + seconds
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= until:
            return None
        time.sleep(0.005)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
