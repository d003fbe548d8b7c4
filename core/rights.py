"""Rights of what Thaw makes: its own files are for their owner alone, outputs have the rights that the user's umask says.

Whatever gets its name through core.durable is private by that. This is for the rest: logs, locks, the run store and
what SQLite puts beside it, which are made by others.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PRIVATE = 0o077
_users: list[int] = []
"""The umask that this process was started with, while its own is another."""


@contextmanager
def private_files() -> Iterator[None]:
    """Whatever the process makes in this block is for its owner alone. For whole processes: threads share the umask."""
    before = os.umask(_PRIVATE)
    _users.append(before)
    try:
        yield
    finally:
        _users.pop()
        os.umask(before)


def users_umask() -> int:
    """The umask of the user, for outputs."""
    if _users:
        return _users[0]
    # There is no way to read it but to set it.
    umask = os.umask(_PRIVATE)
    os.umask(umask)
    return umask


def tighten(folder: Path) -> None:
    """Takes all rights of others from what lies in a folder of ours, which earlier versions gave them; not deeper."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):
                mode = entry.stat(follow_symlinks=False).st_mode
                if not stat.S_ISLNK(mode) and mode & _PRIVATE:
                    Path(entry.path).chmod(stat.S_IMODE(mode) & ~_PRIVATE)
