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

from core.error_kinds import UNFINISHED_PREFIX

REPLACED_FOLDER = "replaced"
"""Folder within a part: what stood at a target while it was being replaced by two renames."""
PART_PREFIX = f"{UNFINISHED_PREFIX}thaw-"
"""How names begin of what is being written: nothing in there is ever read by its name."""
_PART_NAME = re.compile(re.escape(PART_PREFIX) + "[0-9a-f]{16}")
_LOCK = ".lock"
LOCKS_UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
"""Errors of a file system without locks. There nothing is ever taken for a leftover."""
_DAY = 24 * 3600


@contextmanager
def part_folder(parent: Path) -> Iterator[Path]:
    """A new folder in `parent`, which nobody lists and no sweep removes while the block runs; gone
    after it."""
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
    """Removes from `folder` what processes that have ended were writing there; below it nothing is
    looked at."""
    names: set[str] = set()
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        names = {found[0] for entry in entries if (found := _PART_NAME.match(entry.name))}
    for name in names:
        # In a folder that others may write to as well, theirs are let alone.
        with contextlib.suppress(OSError):
            _remove_if_abandoned(folder / name)


def remove_leftovers_below(folder: Path) -> None:
    """As `remove_leftovers_in`, in the folder and all below it; also what versions up to 0.10.0 left
    there, see `is_legacy_leftover`."""
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
    """A name in `parent` that nothing has yet, and its lock, held through the file descriptor."""
    while True:
        part = parent / f"{PART_PREFIX}{secrets.token_hex(8)}"
        # Python's descriptors are not handed on to other programs, but a fork of this process holds
        # the lock as well.
        lock = os.open(_lock_path(part), os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        if _try_lock(lock, _lock_path(part)) is not False:
            return part, lock
        # A sweep came between the two.
        os.close(lock)


def _try_lock(lock: int, path: Path) -> bool | None:
    """Whether the lock could be had, of the file that is at `path`; None where the file system has
    no locks."""
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
    """Removes the part unless somebody holds its lock, or that of something within it."""
    try:
        lock = os.open(_lock_path(part), os.O_RDWR)
    except FileNotFoundError:
        # It is made before the part and removed after it: nobody is there, or all is removed by
        # now.
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
    """Whether a process still writes something of its own in there: a child that has outlived its
    parent."""
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
    for old in (part / REPLACED_FOLDER).glob("*"):
        if not (part.parent / old.name).exists():
            old.rename(part.parent / old.name)
    shutil.rmtree(part, ignore_errors=True)


def _lock_path(part: Path) -> Path:
    return part.with_name(part.name + _LOCK)


def is_legacy_leftover(path: Path) -> bool:
    """Whether something that versions up to 0.10.0 were writing, without a lock, is certain to have
    no writer any more: it was last touched over a day ago, and before this machine was started."""
    started = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    with contextlib.suppress(OSError):
        touched = path.stat().st_mtime
        return touched < started and time.time() - touched > _DAY
    return False
