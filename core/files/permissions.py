"""Rights of what Thaw makes: its own files are for their owner alone, outputs have what the umask
says.

Whatever gets its name through core.files.durable is private by that. This is for the rest: logs, locks,
the run store and what SQLite puts beside it, which are made by others.
"""

import os
import re
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PRIVATE_UMASK = 0o077
_OWN_NAMES = re.compile(r"thaw\..*|[a-z-]+\.(?:lock|beat)|tour\.json|\.part-.*")
"""What lies in a workspace beside its folders."""
_user_umasks: list[int] = []
"""The umask that this process was started with, while its own is another."""


@contextmanager
def private_files() -> Iterator[None]:
    """Whatever the process makes in this block is for its owner alone. For whole processes: threads
    share the umask."""
    before = os.umask(_PRIVATE_UMASK)
    _user_umasks.append(before)
    try:
        yield
    finally:
        _user_umasks.pop()
        os.umask(before)


def user_umask() -> int:
    """The umask of the user, for outputs."""
    if _user_umasks:
        return _user_umasks[0]
    # There is no way to read it but to set it.
    umask = os.umask(_PRIVATE_UMASK)
    os.umask(umask)
    return umask


def restrict_permissions(root: Path, folders: Collection[str]) -> None:
    """Takes from a workspace the rights of others, which earlier versions gave them.

    folders: names of its folders. One that is closed was gone through before, and costs a look. The
    root may hold other things than ours; it is closed where it does not.
    """
    ours = True
    with suppress(OSError), os.scandir(root) as entries:
        for entry in entries:
            if entry.name not in folders and not _OWN_NAMES.fullmatch(entry.name):
                ours = False
            elif _is_accessible_to_others(Path(entry.path)):
                # The folder last: if this breaks off, it is gone through again.
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
    """Whether others than its owner have any right to a file or folder; a link has none of its
    own."""
    with suppress(OSError):
        mode = path.lstat().st_mode
        return not stat.S_ISLNK(mode) and bool(mode & _PRIVATE_UMASK)
    return False
