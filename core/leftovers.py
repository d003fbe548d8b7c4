"""Names for what is half-written, held by a lock for as long as its writer lives, and the removal
of what is left over.

`.part-thaw-ID` is a folder that something is written in, and `.part-thaw-ID.lock`, beside it, is
locked by the process that writes. The lock is made first and goes last. The system frees it when
its last holder ends, however that ends, so a lock that is free is proof that nobody writes any
more. Times are no proof: a machine sleeps, and a clock is set.
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

from core.error_kinds import UNFINISHED

REPLACED = "replaced"
"""Folder within a part: what stood at a target while it was being replaced by two renames."""
MARK = f"{UNFINISHED}thaw-"
"""How names begin of what is being written: nothing in there is ever read by its name."""
_OURS = re.compile(re.escape(MARK) + "[0-9a-f]{16}")
_LOCK = ".lock"
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
"""Errors of a file system without locks. There nothing is ever taken for a leftover."""
_DAY = 24 * 3600


@contextmanager
def part_folder(parent: Path) -> Iterator[Path]:
    """A new folder in `parent`, which nobody lists and no sweep removes while the block runs; gone
    after it."""
    clear_beside(parent)
    part, lock = _claim(parent)
    try:
        part.mkdir(0o700)
        yield part
    finally:
        try:
            _remove(part)
            _lock_of(part).unlink(missing_ok=True)
        finally:
            os.close(lock)


def clear_beside(folder: Path) -> None:
    """Removes from `folder` what processes that have ended were writing there; below it nothing is
    looked at."""
    names: set[str] = set()
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        names = {found[0] for entry in entries if (found := _OURS.match(entry.name))}
    for name in names:
        # In a folder that others may write to as well, theirs are let alone.
        with contextlib.suppress(OSError):
            _clear(folder / name)


def clear_below(folder: Path) -> None:
    """As `clear_beside`, in the folder and all below it; also what versions up to 0.10.0 left
    there, see `is_old`."""
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            if name.startswith(UNFINISHED) and not _OURS.match(name) and is_old(Path(place, name)):
                with contextlib.suppress(OSError):
                    _remove(Path(place, name))
        if any(_OURS.match(name) for name in (*folders, *files)):
            clear_beside(Path(place))
        folders[:] = [name for name in folders if not name.startswith(UNFINISHED)]


def _claim(parent: Path) -> tuple[Path, int]:
    """A name in `parent` that nothing has yet, and its lock, held through the file descriptor."""
    while True:
        part = parent / f"{MARK}{secrets.token_hex(8)}"
        # Python's descriptors are not handed on to other programs, but a fork of this process holds
        # the lock as well.
        lock = os.open(_lock_of(part), os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        if _locked(lock, _lock_of(part)) is not False:
            return part, lock
        # A sweep came between the two.
        os.close(lock)


def _locked(lock: int, path: Path) -> bool | None:
    """Whether the lock could be had, of the file that is at `path`; None where the file system has
    no locks."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(lock), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False
    except OSError as error:
        if error.errno in NO_LOCKS:
            return None
        raise


def _clear(part: Path) -> None:
    """Removes the part unless somebody holds its lock, or that of something within it."""
    try:
        lock = os.open(_lock_of(part), os.O_RDWR)
    except FileNotFoundError:
        # It is made before the part and removed after it: nobody is there, or all is removed by
        # now.
        if not _busy_within(part):
            _remove(part)
        return
    try:
        if _locked(lock, _lock_of(part)) and not _busy_within(part):
            _remove(part)
            _lock_of(part).unlink(missing_ok=True)
    finally:
        os.close(lock)


def _busy_within(part: Path) -> bool:
    """Whether a process still writes something of its own in there: a child that has outlived its
    parent."""
    for path in part.rglob(f"{MARK}*{_LOCK}"):
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(path, os.O_RDWR)
            try:
                if not _locked(lock, path):
                    return True
            finally:
                os.close(lock)
    return False


def _remove(part: Path) -> None:
    """Removes the part, once what it had taken the place from is back where nothing new came; only
    a part of ours."""
    try:
        found = part.lstat()
    except FileNotFoundError:
        return
    if found.st_uid != os.geteuid():
        return
    if not stat.S_ISDIR(found.st_mode):
        part.unlink(missing_ok=True)
        return
    for old in (part / REPLACED).glob("*"):
        if not (part.parent / old.name).exists():
            old.rename(part.parent / old.name)
    shutil.rmtree(part, ignore_errors=True)


def _lock_of(part: Path) -> Path:
    return part.with_name(part.name + _LOCK)


def is_old(path: Path) -> bool:
    """Whether something that versions up to 0.10.0 were writing, without a lock, is certain to have
    no writer any more: it was last touched over a day ago, and before this machine was started."""
    started = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    with contextlib.suppress(OSError):
        touched = path.stat().st_mtime
        return touched < started and time.time() - touched > _DAY
    return False
