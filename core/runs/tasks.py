"""Commands that a page starts and need not wait for: scoring, export, verification.

Every session sees how far they are. They belong to the app's process and end with it; what they
made lies in the workspace, see core.runs.artifacts.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from core.errors import RunError, ThawError, explain_system_error
from core.runs.subprocess_commands import ProgressFn
from core.workspace import workspace_root

MAX_CONCURRENT_TASKS = 2
"""Errands under way at a time; the others wait, since each takes the cores of a training."""
MAX_REMEMBERED_FAILURES = 32
"""Failures remembered until someone has read them; the oldest go first."""


@dataclass
class BackgroundTask:
    """progress: 0 to 1, None while it waits for others to end. error: why it failed; one that ended
    well is forgotten."""

    key: str
    progress: float | None = None
    error: ThawError | None = None
    _stopping: threading.Event = field(default_factory=threading.Event)

    @property
    def active(self) -> bool:
        """Whether it is still to come or under way."""
        return self.error is None

    @property
    def stopping(self) -> bool:
        """Whether it was asked to stop."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Asks it to stop: it does so when it next says how far it is."""
        self._stopping.set()

    def report_progress(self, share: float) -> None:
        """Takes in how far it is."""
        if self.stopping:
            raise _TaskStopped
        self.progress = share


class _TaskStopped(Exception):
    """Ends an errand that was asked to stop."""


_tasks: dict[str, BackgroundTask] = {}
_lock = threading.Lock()
_slots = threading.BoundedSemaphore(MAX_CONCURRENT_TASKS)


def start(key: str, job: Callable[[ProgressFn], object]) -> None:
    """Begins `job`, which is called with a function to say how far it is; one of that key under way
    is left to end."""
    with _lock:
        if (known := _tasks.get(key)) and known.active:
            return
        failed = [one.key for one in _tasks.values() if not one.active]
        for old in failed[: max(0, len(failed) - MAX_REMEMBERED_FAILURES + 1)]:
            del _tasks[old]
        errand = _tasks[key] = BackgroundTask(key)
    threading.Thread(target=_run_task, args=(errand, job), daemon=True).start()


def find(key: str) -> BackgroundTask | None:
    """The errand of that key that is under way or has failed."""
    with _lock:
        return _tasks.get(key)


def forget(key: str) -> None:
    """Drops a failure that was read."""
    with _lock:
        if (known := _tasks.get(key)) and not known.active:
            del _tasks[key]


def _run_task(errand: BackgroundTask, job: Callable[[ProgressFn], object]) -> None:
    try:
        with _slots:
            errand.report_progress(0.0)
            job(errand.report_progress)
    except _TaskStopped:
        pass
    except ThawError as error:
        errand.error = error
    except Exception as error:
        sentence = explain_system_error(error, workspace_root())
        errand.error = RunError(sentence or f"It could not be carried out: {error}")
    if errand.active:
        with _lock:
            _tasks.pop(errand.key, None)
