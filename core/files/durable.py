"""Files and folders that are whole on the disk before they get their name: no kill and no power cut
leaves half of one.

The order is always the same. What is new is written under another name, in a folder that `staging`
gives; then it is synced, contents and folders; then renamed into place, which happens at once or
not at all; then the folder that it was renamed into is synced. Only after that does anybody say
that it is done.
"""

import ctypes
import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from core.error_kinds import UNFINISHED_PREFIX
from core.errors import set_write_error_path
from core.files.leftovers import PART_PREFIX, REPLACED_FOLDER, part_folder
from core.files.write_guard import check_write

PRIVATE_UMASK = 0o077
"""The umask of everything in a workspace, whatever the process's own is."""
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_OCCUPIED = {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}
_UNSUPPORTED = {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP}


@contextmanager
def staging(parent: Path) -> Iterator[Path]:
    """A new, empty folder in `parent` for what is to be published there; whatever is still in it at
    the end goes.

    Nobody lists what is in it, and no sweep of leftovers removes it as long as this process lives.
    An error in writing says what the system refused, see core.errors.set_write_error_path.
    """
    with part_folder(parent) as part:
        # One level down: a list of all folders that hold a sample.json, say, does not look there.
        folder = part / "new"
        folder.mkdir(0o700)
        try:
            yield folder
        except Exception as error:
            set_write_error_path(error, folder, parent)
            raise


def write_file(path: Path, write: Callable[[Path], object], mode: int = 0o600) -> None:
    """Calls `write` with a path to write to, then puts that file at `path`, durably; if it fails,
    `path` is as it was.

    mode: the file's rights. An OSError in writing names `path`.
    """
    try:
        with staging(path.parent) as folder:
            part = folder / path.name
            try:
                write(part)
                publish_file(part, path, mode)
            except Exception as error:
                set_write_error_path(error, part, path)
                raise
    except OSError as error:
        if UNFINISHED_PREFIX in str(error.filename):
            # That of the folder in which the file was to be written.
            error.filename, error.filename2 = str(path), None
        raise


def publish_file(part: Path, path: Path, mode: int = 0o600) -> None:
    """Syncs the file `part` and puts it at `path`, in place of any file there."""
    _sync(part, mode, _is_staged(path))
    check_write()
    part.replace(path)
    sync_folder(path.parent)


def publish_folder(part: Path, target: Path, umask: int = PRIVATE_UMASK) -> None:
    """Syncs all of the folder `part` and puts it at `target`; whatever is there is exchanged for it
    at once.

    The old folder is then where `part` was, in staging, and goes with that.
    """
    if not _is_staged(target):
        sync_tree(part, umask)
    check_write()
    try:
        part.rename(target)
    except OSError as error:
        if error.errno not in _OCCUPIED:
            raise
        if not _swap(part, target):
            _replace_in_two_steps(part, target)
    sync_folder(target.parent)


def remove_folder(folder: Path) -> None:
    """Removes a folder: at once for those who list it, whenever the removal of what is in it is
    broken off."""
    with staging(folder.parent) as gone:
        folder.rename(gone / folder.name)
        sync_folder(folder.parent)


def remove_folders(folders: Sequence[Path]) -> None:
    """As `remove_folder`, for folders of one parent; what is not there, or cannot be moved, stays
    as it is."""
    if folders and folders[0].parent.exists():
        with staging(folders[0].parent) as gone:
            for folder in folders:
                with suppress(OSError):
                    folder.rename(gone / folder.name)
            sync_folder(folders[0].parent)


def make_folder(folder: Path) -> None:
    """Makes a folder of ours and what is missing above it, so that a power cut takes none of them
    away.

    Where this process may not write there any more, it raises what `core.files.write_guard.check_write`
    does and leaves nothing.
    """
    check_write()
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    for one in reversed(missing):
        one.mkdir(0o700, exist_ok=True)
        sync_folder(one.parent)
    try:
        check_write()
    except Exception:
        # Another workspace has come here since the first look.
        for one in missing:
            with suppress(OSError):
                one.rmdir()
        raise


def sync_tree(folder: Path, umask: int = PRIVATE_UMASK) -> None:
    """Syncs every file in the folder, then the folders from the innermost out, and gives them their
    rights."""
    for place, _, files in os.walk(folder, topdown=False):
        for name in files:
            if not Path(place, name).is_symlink():
                _sync(Path(place, name), 0o666 & ~umask)
        _sync(Path(place), 0o777 & ~umask)


def sync_folder(folder: Path) -> None:
    """Has the disk take the names in a folder."""
    if not _is_staged(folder):
        # A folder that may be written and not be read cannot be asked.
        with suppress(PermissionError):
            _sync(folder)


def _is_staged(path: Path) -> bool:
    """Whether the path lies in a folder that gets its name, and is synced, later, or is thrown
    away."""
    return any(part.startswith(PART_PREFIX) for part in path.parts)


def _sync(path: Path, mode: int | None = None, permissions_only: bool = False) -> None:
    """Gives a file or folder its rights, and has the disk take what it holds; later: the rights
    alone."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if mode is not None:
            # There are file systems that know of no rights.
            with suppress(OSError):
                os.fchmod(descriptor, mode)
        if not permissions_only:
            os.fsync(descriptor)
    except OSError as error:
        # Nor can all be asked to sync.
        if error.errno not in _UNSUPPORTED:
            error.filename = str(path)
            raise
    finally:
        os.close(descriptor)


def _swap(one: Path, other: Path) -> bool:
    """Gives each of two things the other's name, in one step; False where the system cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return False
    if renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _UNSUPPORTED:
        return False
    raise OSError(number, os.strerror(number), str(one), None, str(other))


def _replace_in_two_steps(part: Path, target: Path) -> None:
    """Puts `part` at `target`, and what is there aside first: a sweep brings it back from there if
    this breaks off."""
    with part_folder(target.parent) as aside:
        (aside / REPLACED_FOLDER).mkdir(0o700)
        sync_folder(aside)
        sync_folder(target.parent)
        target.rename(aside / REPLACED_FOLDER / target.name)
        sync_folder(aside / REPLACED_FOLDER)
        part.rename(target)
        sync_folder(target.parent)
