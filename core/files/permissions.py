"""Permissions of the files that Thaw writes.

Its own files are for their owner only; outputs follow the user's umask. Whatever core.files.durable
publishes is private already. This is for the rest: logs, locks, the run store and SQLite's files
beside it, which other libraries create.
"""

import os
import re
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PRIVATE_UMASK = 0o077
_OWN_NAMES = re.compile(r"thaw\..*|[a-z-]+\.(?:lock|beat)|tour\.json|\.part-.*")
"""Files of ours in a workspace beside its folders."""
_user_umasks: list[int] = []
"""The umask with which this process was started, while another one is set."""


@contextmanager
def private_files() -> Iterator[None]:
    """Make everything that the process creates in this block private.

    Use it for whole processes: threads share the umask.
    """
    before = os.umask(_PRIVATE_UMASK)
    _user_umasks.append(before)
    try:
        yield
    finally:
        _user_umasks.pop()
        os.umask(before)


def user_umask() -> int:
    """Return the umask of the user, for outputs."""
    if _user_umasks:
        return _user_umasks[0]
    # The umask can only be read by setting it.
    umask = os.umask(_PRIVATE_UMASK)
    os.umask(umask)
    return umask


def restrict_permissions(root: Path, folders: Collection[str]) -> None:
    """Take from a workspace the permissions that earlier versions gave to others.

    Args:
        root: the workspace. It is closed itself where it holds nothing but ours.
        folders: names of its folders. One that is private was processed before, and costs one look.
    """
    ours = True
    with suppress(OSError), os.scandir(root) as entries:
        for entry in entries:
            if entry.name not in folders and not _OWN_NAMES.fullmatch(entry.name):
                ours = False
            elif _is_accessible_to_others(Path(entry.path)):
                # The folder last: if this is interrupted, the folder is processed again.
                for place, _, files in os.walk(entry.path, topdown=False):
                    _make_private(*(Path(place, name) for name in files), Path(place))
                _make_private(Path(entry.path))
    if ours:
        _make_private(root)


def _make_private(*paths: Path) -> None:
    for path in paths:
        if _is_accessible_to_others(path):
            with suppress(OSError):
                path.chmod(stat.S_IMODE(path.stat().st_mode) & ~_PRIVATE_UMASK)


def _is_accessible_to_others(path: Path) -> bool:
    """Return whether others have any permission on a file or folder.

    A symbolic link has no permissions of its own.
    """
    with suppress(OSError):
        mode = path.lstat().st_mode
        return not stat.S_ISLNK(mode) and bool(mode & _PRIVATE_UMASK)
    return False
