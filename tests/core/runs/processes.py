"""Real worker processes for tests, and jobs that behave in a given way."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from core.jobs.reporter import Reporter
from core.jobs.run_result import RunResult
from core.jobs.store import Run
from core.runs.worker import run_worker
from core.workspace import PROJECT, Workspace, open_workspace

ENVIRONMENT = {
    **os.environ,
    "THAW_WORKER_LINGER": "1",
    "OMP_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
}


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Waits until `condition` holds; fails the test when it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def start_worker(workspace: Workspace) -> subprocess.Popen[bytes]:
    """The real worker, as the app starts it."""
    command = [
        sys.executable,
        "-m",
        "core.runs.worker",
        "--workspace",
        str(workspace.root),
        "--lane",
        "cpu",
    ]
    return subprocess.Popen(command, cwd=PROJECT, env=ENVIRONMENT)


def start_pretender(workspace: Workspace, job: str) -> subprocess.Popen[bytes]:
    """A worker whose job is one of JOBS."""
    command = [sys.executable, "-m", "tests.core.runs.processes", str(workspace.root), job]
    return subprocess.Popen(command, cwd=PROJECT, env=ENVIRONMENT)


def obedient(workspace: Workspace, run: Run, reporter: Reporter) -> RunResult:
    """Works until it is asked to stop."""
    (workspace.root / "started").touch()
    while not reporter.should_stop():
        time.sleep(0.01)
    raise InterruptedError


def stubborn(workspace: Workspace, run: Run, reporter: Reporter) -> RunResult:
    """Ignore the cancel flag and every signal that can be ignored."""
    (workspace.root / "started").touch()
    while True:
        time.sleep(0.05)


def quick(workspace: Workspace, run: Run, reporter: Reporter) -> RunResult:
    """Ends at once, noting who carried the run out."""
    with (workspace.root / "carried-out").open("a") as stream:
        stream.write(f"{run.id} {os.getpid()}\n")
    time.sleep(0.01)
    return RunResult()


JOBS = {"obedient": obedient, "stubborn": stubborn, "quick": quick}

if __name__ == "__main__":
    run_worker(open_workspace(Path(sys.argv[1])), "cpu", JOBS[sys.argv[2]], idle_timeout=1.0)
