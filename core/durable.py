"""Files and folders that are whole on the disk before they get their name: no kill and no power cut leaves half of one.

The order is always the same. What is new is written under another name, in a folder that `staging` gives; then it is
synced, contents and folders; then renamed into place, which happens at once or not at all; then the folder that it was
renamed into is synced. Only after that does anybody say that it is done.
"""

import ctypes
import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from core.leftovers import REPLACED, part_folder

PRIVATE = 0o077
"""The umask of everything in a workspace, whatever the process's own is."""
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_OCCUPIED = {errno.ENOTEMPTY, errno.EEXIST}
_CANNOT = {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP}


@contextmanager
def staging(parent: Path) -> Iterator[Path]:
    """A new, empty folder in `parent` for what is to be published there; whatever is still in it at the end goes.

    Nobody lists what is in it, and no sweep of leftovers removes it as long as this process lives.
    """
    with part_folder(parent) as part:
        # One level down: a list of all folders that hold a sample.json, say, does not look there.
        folder = part / "new"
        folder.mkdir(0o700)
        yield folder


def write_file(path: Path, write: Callable[[Path], object], umask: int = PRIVATE) -> None:
    """Calls `write` with a path to write to, then puts that file at `path`, durably; if it fails, `path` is as it was.

    umask: which rights the file does not get.
    """
    with staging(path.parent) as folder:
        part = folder / path.name
        write(part)
        publish_file(part, path, umask)


def publish_file(part: Path, path: Path, umask: int = PRIVATE) -> None:
    """Syncs the file `part` and puts it at `path`, in place of any file there."""
    sync(part, umask)
    part.replace(path)
    sync_names(path.parent)


def publish(part: Path, target: Path, umask: int = PRIVATE) -> None:
    """Syncs all of the folder `part` and puts it at `target`; a folder that is there is exchanged for it at once.

    The old folder is then where `part` was, in staging, and goes with that.
    """
    sync_tree(part, umask)
    try:
        part.rename(target)
    except OSError as error:
        if error.errno not in _OCCUPIED:
            raise
        if not _exchange(part, target):
            _replace_in_two_steps(part, target)
    sync_names(target.parent)


def remove_folder(folder: Path) -> None:
    """Removes a folder: at once for those who list it, whenever the removal of what is in it is broken off."""
    with staging(folder.parent) as gone:
        folder.rename(gone / folder.name)
        sync_names(folder.parent)


def sync_tree(folder: Path, umask: int = PRIVATE) -> None:
    """Syncs every file in the folder, then the folders from the innermost out, and gives them their rights."""
    for place, _, files in os.walk(folder, topdown=False):
        for name in files:
            if not Path(place, name).is_symlink():
                sync(Path(place, name), umask)
        sync(Path(place), umask)


def sync(path: Path, umask: int = PRIVATE) -> None:
    """Has the disk take what was written to a file of ours, or the names in a folder of ours; sets its rights."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        usual = 0o777 if stat.S_ISDIR(os.fstat(descriptor).st_mode) else 0o666
        os.fchmod(descriptor, usual & ~umask)
        os.fsync(descriptor)
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        os.close(descriptor)


def sync_names(folder: Path) -> None:
    """Has the disk take the names in a folder, where its file system can be asked to."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT:
            error.filename = str(folder)
            raise
    finally:
        os.close(descriptor)


def _exchange(one: Path, other: Path) -> bool:
    """Gives each of two folders the other's name, in one step; False where the system cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return False
    if renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _CANNOT:
        return False
    raise OSError(number, os.strerror(number), str(one), None, str(other))


def _replace_in_two_steps(part: Path, target: Path) -> None:
    """Puts `part` at `target`, and what is there aside first: a sweep brings it back from there if this breaks off."""
    with part_folder(target.parent) as aside:
        (aside / REPLACED).mkdir(0o700)
        sync_names(aside)
        sync_names(target.parent)
        target.rename(aside / REPLACED / target.name)
        sync_names(aside / REPLACED)
        part.rename(target)
        sync_names(target.parent)
