"""Names for what is half-written, locked while its writer lives, and the removal of leftovers.

``.part-thaw-ID`` is a folder in which something is written, and ``.part-thaw-ID.lock`` beside it is
locked by the process that writes. The lock file is created first and removed last. The system
releases the lock when its last holder ends, however it ends, so that a free lock proves that nobody
writes any more. Times prove nothing: a machine sleeps, and a clock is set.
"""

import contextlib
import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.error_kinds import UNFINISHED_PREFIX

REPLACED_FOLDER = "replaced"
"""Folder within a part: holds the old target while it is replaced by two renames."""
PART_PREFIX = f"{UNFINISHED_PREFIX}thaw-"
"""Prefix of the names of what is being written; nothing is ever read by such a name."""
_PART_NAME = re.compile(re.escape(PART_PREFIX) + "[0-9a-f]{16}")
_LOCK = ".lock"
LOCKS_UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
"""Errors of a file system without locks, on which nothing is ever removed as a leftover."""
_DAY = 24 * 3600


@contextmanager
def part_folder(parent: Path) -> Iterator[Path]:
    """Create a folder in `parent` for the duration of the block, and remove it afterwards.

    It is in no list, and no clean-up removes it while the block runs.
    """
    remove_leftovers_in(parent)
    part, lock = _create_part_lock(parent)
    try:
        part.mkdir(0o700)
        yield part
    finally:
        try:
            _remove(part)
            _lock_path(part).unlink(missing_ok=True)
        finally:
            os.close(lock)


def remove_leftovers_in(folder: Path) -> None:
    """Remove from `folder` the unfinished files of processes that have ended.

    Folders below it are not searched.
    """
    names: set[str] = set()
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        names = {found[0] for entry in entries if (found := _PART_NAME.match(entry.name))}
    for name in names:
        # In a folder that others can write to as well, their leftovers are not ours to remove.
        with contextlib.suppress(OSError):
            _remove_if_abandoned(folder / name)


def remove_leftovers_below(folder: Path) -> None:
    """Remove leftovers from the folder and all below it, also those of versions up to 0.10.0."""
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            if (
                name.startswith(UNFINISHED_PREFIX)
                and not _PART_NAME.match(name)
                and is_legacy_leftover(Path(place, name))
            ):
                with contextlib.suppress(OSError):
                    _remove(Path(place, name))
        if any(_PART_NAME.match(name) for name in (*folders, *files)):
            remove_leftovers_in(Path(place))
        folders[:] = [name for name in folders if not name.startswith(UNFINISHED_PREFIX)]


def _create_part_lock(parent: Path) -> tuple[Path, int]:
    """Return a new name in `parent`, and its lock, held through the file descriptor."""
    while True:
        part = parent / f"{PART_PREFIX}{secrets.token_hex(8)}"
        # Other programs do not inherit Python's descriptors, but a fork of this process does.
        lock = os.open(_lock_path(part), os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        if _try_lock(lock, _lock_path(part)) is not False:
            return part, lock
        # A clean-up removed it between creation and lock.
        os.close(lock)


def _try_lock(lock: int, path: Path) -> bool | None:
    """Return whether the lock of the file at `path` could be taken.

    None if the file system has no locks.
    """
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(lock), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False
    except OSError as error:
        if error.errno in LOCKS_UNSUPPORTED:
            return None
        raise


def _remove_if_abandoned(part: Path) -> None:
    """Remove the part unless a process holds its lock, or that of something within it."""
    try:
        lock = os.open(_lock_path(part), os.O_RDWR)
    except FileNotFoundError:
        # The lock file is created before the part and removed after it: the writer is gone.
        if not _has_live_writer(part):
            _remove(part)
        return
    try:
        if _try_lock(lock, _lock_path(part)) and not _has_live_writer(part):
            _remove(part)
            _lock_path(part).unlink(missing_ok=True)
    finally:
        os.close(lock)


def _has_live_writer(part: Path) -> bool:
    """Return whether a process still writes in there: a child that has outlived its parent."""
    for path in part.rglob(f"{PART_PREFIX}*{_LOCK}"):
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(path, os.O_RDWR)
            try:
                if not _try_lock(lock, path):
                    return True
            finally:
                os.close(lock)
    return False


def _remove(part: Path) -> None:
    """Remove a part that belongs to this user.

    What it had replaced is moved back, unless something new was published in its place.
    """
    try:
        found = part.lstat()
    except FileNotFoundError:
        return
    if found.st_uid != os.geteuid():
        return
    if not stat.S_ISDIR(found.st_mode):
        part.unlink(missing_ok=True)
        return
    for old in (part / REPLACED_FOLDER).glob("*"):
        if not (part.parent / old.name).exists():
            old.rename(part.parent / old.name)
    shutil.rmtree(part, ignore_errors=True)


def _lock_path(part: Path) -> Path:
    return part.with_name(part.name + _LOCK)


def is_legacy_leftover(path: Path) -> bool:
    """Return whether an unfinished file of a version up to 0.10.0 certainly has no writer any more.

    Those versions wrote without a lock. The file was last changed over a day ago, and before this
    machine was started.
    """
    started = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    with contextlib.suppress(OSError):
        touched = path.stat().st_mtime
        return touched < started and time.time() - touched > _DAY
    return False
