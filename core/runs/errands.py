"""Commands that a page starts and need not wait for: scoring, export, verification.

Every session sees how far they are. They belong to the app's process and end with it; what they
made lies in the workspace, see core.runs.kept.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from core.errors import RunError, ThawError, system_sentence
from core.runs.command import Report
from core.workspace import workspace_root

AT_ONCE = 2
"""Errands under way at a time; the others wait, since each takes the cores of a training."""
MOST_FAILED = 32
"""Failures remembered until someone has read them; the oldest go first."""


@dataclass
class Errand:
    """share: 0 to 1, None while it waits for others to end. error: why it failed; one that ended
    well is forgotten."""

    key: str
    share: float | None = None
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

    def report(self, share: float) -> None:
        """Takes in how far it is."""
        if self.stopping:
            raise _Stopped
        self.share = share


class _Stopped(Exception):
    """Ends an errand that was asked to stop."""


_errands: dict[str, Errand] = {}
_lock = threading.Lock()
_slots = threading.BoundedSemaphore(AT_ONCE)


def start(key: str, job: Callable[[Report], object]) -> None:
    """Begins `job`, which is called with a function to say how far it is; one of that key under way
    is left to end."""
    with _lock:
        if (known := _errands.get(key)) and known.active:
            return
        failed = [one.key for one in _errands.values() if not one.active]
        for old in failed[: max(0, len(failed) - MOST_FAILED + 1)]:
            del _errands[old]
        errand = _errands[key] = Errand(key)
    threading.Thread(target=_carry_out, args=(errand, job), daemon=True).start()


def find(key: str) -> Errand | None:
    """The errand of that key that is under way or has failed."""
    with _lock:
        return _errands.get(key)


def forget(key: str) -> None:
    """Drops a failure that was read."""
    with _lock:
        if (known := _errands.get(key)) and not known.active:
            del _errands[key]


def _carry_out(errand: Errand, job: Callable[[Report], object]) -> None:
    try:
        with _slots:
            errand.report(0.0)
            job(errand.report)
    except _Stopped:
        pass
    except ThawError as error:
        errand.error = error
    except Exception as error:
        sentence = system_sentence(error, workspace_root())
        errand.error = RunError(sentence or f"It could not be carried out: {error}")
    if errand.active:
        with _lock:
            _errands.pop(errand.key, None)
