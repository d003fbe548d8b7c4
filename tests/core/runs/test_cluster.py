"""Runs executed in parallel, each in its own process."""

import signal
import subprocess
import sys

import psutil

from core.workspace import PROJECT
from tests.core.runs.processes import wait_for

PARENT = """
import time
from joblib import Parallel, delayed
from core.runs.cluster import local_processes

if __name__ == "__main__":
    with local_processes():
        Parallel(2)(delayed(time.sleep)(600) for _ in range(2))
"""


def test_processes_without_a_run_yet_end_with_their_worker() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], cwd=PROJECT)
    try:
        find = lambda: [  # noqa: E731
            one
            for one in psutil.Process(parent.pid).children()
            if "popen_loky_posix" in " ".join(one.cmdline())
        ]
        wait_for(lambda: len(find()) == 2)
        children = find()
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        wait_for(
            lambda: (
                not any(
                    one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in children
                )
            )
        )
    finally:
        parent.kill()
