"""Which functions of the project were called, in any thread: page tests run a page in its own
thread."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, FrameType

from core.workspace import PROJECT


@contextmanager
def entered() -> Iterator[set[tuple[str, int]]]:
    """Fills the set with (file relative to the project, first line) of every function called in the
    block."""
    codes: set[CodeType] = set()
    found: set[tuple[str, int]] = set()

    # Nothing is returned, so no line is traced: only calls are seen, and what they run is hardly
    # slower.
    def note(frame: FrameType, event: str, arg: object) -> None:
        codes.add(frame.f_code)

    before = sys.gettrace()
    threading.settrace(note)
    sys.settrace(note)
    try:
        yield found
    finally:
        sys.settrace(before)
        threading.settrace(None)
        root = f"{PROJECT}/"
        found |= {
            (code.co_filename.removeprefix(root), code.co_firstlineno)
            for code in codes
            if code.co_filename.startswith(root)
        }
