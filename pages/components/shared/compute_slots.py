"""A limit on expensive work (seconds of a core) that visitors can start at the same time."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

MAX_CONCURRENT = 2
_slots = threading.BoundedSemaphore(MAX_CONCURRENT)


@contextmanager
def compute_slot() -> Iterator[None]:
    """Wait until fewer than MAX_CONCURRENT others are working. Never nest two of these."""
    with _slots:
        yield
