"""Work that takes a core for seconds, and that anyone who may look can start: so many at a time for
all visitors."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

MAX_CONCURRENT = 2
_slots = threading.BoundedSemaphore(MAX_CONCURRENT)


@contextmanager
def compute_slot() -> Iterator[None]:
    """Waits until fewer than AT_ONCE others are under way. Never inside of another `heavy`."""
    with _slots:
        yield
