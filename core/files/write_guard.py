"""A check before anything in a workspace is published.

The workspace of a worker may have been replaced by another.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_write_check: ContextVar[Callable[[], None]] = ContextVar("_check", default=lambda: None)


@contextmanager
def guard_writes(check: Callable[[], None]) -> Iterator[None]:
    """Have `check` called before every write of this thread.

    It raises if nothing may be written any more.
    """
    before = _write_check.set(check)
    try:
        yield
    finally:
        _write_check.reset(before)


def check_write() -> None:
    """Raise what this thread's guard raises."""
    _write_check.get()()
