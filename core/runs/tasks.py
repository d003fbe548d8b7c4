"""Commands that a page starts and does not wait for: scoring, export, verification.

Every session sees their progress. They belong to the app's process and end with it; what they make
is in the workspace (core.runs.artifacts).
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from core.errors import RunError, ThawError, explain_system_error
from core.runs.subprocess_commands import ProgressFn
from core.workspace import workspace_root

MAX_CONCURRENT_TASKS = 2
"""Tasks that run at a time; the others wait, since each takes cores that a training needs."""
MAX_REMEMBERED_FAILURES = 32
"""Failures remembered until someone has read them; the oldest go first."""


@dataclass
class BackgroundTask:
    """A command that waits, runs or has failed; one that ended well is forgotten.

    Args:
        key: what it is of; one task of a key at a time.
        progress: 0 to 1; None while it waits for others to end.
        error: why it failed.
    """

    key: str
    progress: float | None = None
    error: ThawError | None = None
    _stopping: threading.Event = field(default_factory=threading.Event)

    @property
    def active(self) -> bool:
        """Whether it waits or runs."""
        return self.error is None

    @property
    def stopping(self) -> bool:
        """Whether it was asked to stop."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Ask it to stop, which it does when it next reports progress."""
        self._stopping.set()

    def report_progress(self, share: float) -> None:
        """Set the progress; raises where the task was asked to stop."""
        if self.stopping:
            raise _TaskStopped
        self.progress = share


class _TaskStopped(Exception):
    """Ends a task that was asked to stop."""


_tasks: dict[str, BackgroundTask] = {}
_lock = threading.Lock()
_slots = threading.BoundedSemaphore(MAX_CONCURRENT_TASKS)


def start(key: str, job: Callable[[ProgressFn], object]) -> None:
    """Start `job` in a thread, unless a task of that key is active.

    Args:
        key: of the task.
        job: called with a function that reports its progress, 0 to 1.
    """
    with _lock:
        if (earlier := _tasks.get(key)) and earlier.active:
            return
        failed = [one.key for one in _tasks.values() if not one.active]
        for old in failed[: max(0, len(failed) - MAX_REMEMBERED_FAILURES + 1)]:
            del _tasks[old]
        task = _tasks[key] = BackgroundTask(key)
    threading.Thread(target=_run_task, args=(task, job), daemon=True).start()


def find(key: str) -> BackgroundTask | None:
    """Return the task of that key that is active or has failed."""
    with _lock:
        return _tasks.get(key)


def forget(key: str) -> None:
    """Forget a failure that was shown."""
    with _lock:
        if (earlier := _tasks.get(key)) and not earlier.active:
            del _tasks[key]


def _run_task(task: BackgroundTask, job: Callable[[ProgressFn], object]) -> None:
    try:
        with _slots:
            task.report_progress(0.0)
            job(task.report_progress)
    except _TaskStopped:
        pass
    except ThawError as error:
        task.error = error
    except Exception as error:
        sentence = explain_system_error(error, workspace_root())
        task.error = RunError(sentence or f"It could not be finished: {error}")
    if task.active:
        with _lock:
            _tasks.pop(task.key, None)
