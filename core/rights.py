"""Rights of what Thaw makes: its own files are for their owner alone, outputs have what the umask
says.

Whatever gets its name through core.durable is private by that. This is for the rest: logs, locks,
the run store and what SQLite puts beside it, which are made by others.
"""

import os
import re
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PRIVATE = 0o077
_OURS = re.compile(r"thaw\..*|[a-z-]+\.(?:lock|beat)|tour\.json|\.part-.*")
"""What lies in a workspace beside its folders."""
_users: list[int] = []
"""The umask that this process was started with, while its own is another."""


@contextmanager
def private_files() -> Iterator[None]:
    """Whatever the process makes in this block is for its owner alone. For whole processes: threads
    share the umask."""
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


def tighten(root: Path, folders: Collection[str]) -> None:
    """Takes from a workspace the rights of others, which earlier versions gave them.

    folders: names of its folders. One that is closed was gone through before, and costs a look. The
    root may hold other things than ours; it is closed where it does not.
    """
    ours = True
    with suppress(OSError), os.scandir(root) as entries:
        for entry in entries:
            if entry.name not in folders and not _OURS.fullmatch(entry.name):
                ours = False
            elif _is_open(Path(entry.path)):
                # The folder last: if this breaks off, it is gone through again.
                for place, _, files in os.walk(entry.path, topdown=False):
                    _close(*(Path(place, name) for name in files), Path(place))
                _close(Path(entry.path))
    if ours:
        _close(root)


def _close(*paths: Path) -> None:
    for path in paths:
        if _is_open(path):
            with suppress(OSError):
                path.chmod(stat.S_IMODE(path.stat().st_mode) & ~_PRIVATE)


def _is_open(path: Path) -> bool:
    """Whether others than its owner have any right to a file or folder; a link has none of its
    own."""
    with suppress(OSError):
        mode = path.lstat().st_mode
        return not stat.S_ISLNK(mode) and bool(mode & _PRIVATE)
    return False
