"""Read-only mode, set by THAW_READ_ONLY=1.

A process in this mode shows everything and changes nothing that belongs to a user.
"""

import os

from core.errors import BadInput

READ_ONLY = "THAW_READ_ONLY"
READ_ONLY_MESSAGE = (
    "Thaw is running in read-only mode (THAW_READ_ONLY=1), so nothing can be changed or launched."
)


def is_read_only() -> bool:
    """Return whether this process may change nothing."""
    return os.environ.get(READ_ONLY, "").strip() not in ("", "0")


def require_writable() -> None:
    """Raise BadInput in read-only mode.

    It is called first by everything that adds, changes, removes or starts something.
    """
    if is_read_only():
        raise BadInput(READ_ONLY_MESSAGE)
