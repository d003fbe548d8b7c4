"""Publish files and folders only once they are complete on disk, despite kills and power cuts.

The order is always the same. New content is written under another name, in a folder that `staging`
provides; then contents and folders are synced; then it is renamed into place, which is atomic; then
the folder it was renamed into is synced. Only after that is it reported as done.
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
"""The umask of everything in a workspace, whatever umask the process has."""
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_OCCUPIED = {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}
_UNSUPPORTED = {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP}


@contextmanager
def staging(parent: Path) -> Iterator[Path]:
    """Yield an empty folder in `parent` for what will be published there.

    What is still in it at the end is removed. It is in no list, and no clean-up removes it while
    this process lives. An error in writing says what the system refused
    (core.errors.set_write_error_path).
    """
    with part_folder(parent) as part:
        # One level down, where a search for all folders with a sample.json, say, does not look.
        folder = part / "new"
        folder.mkdir(0o700)
        try:
            yield folder
        except Exception as error:
            set_write_error_path(error, folder, parent)
            raise


def write_file(path: Path, write: Callable[[Path], object], mode: int = 0o600) -> None:
    """Write a file durably under a temporary path, then move it to `path`.

    On failure, what was at `path` stays as it was.

    Args:
        path: the file.
        write: writes it to the path it is called with. An OSError that it raises is changed to name
            `path`.
        mode: permissions of the file.
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
            # The error names the staging folder.
            error.filename, error.filename2 = str(path), None
        raise


def publish_file(part: Path, path: Path, mode: int = 0o600) -> None:
    """Sync the file `part` and put it at `path`, in place of any file there."""
    _sync(part, mode, _is_staged(path))
    check_write()
    part.replace(path)
    sync_folder(path.parent)


def publish_folder(part: Path, target: Path, umask: int = PRIVATE_UMASK) -> None:
    """Sync the folder `part` and put it at `target`, in place of any folder there.

    The two are exchanged atomically. The old folder is then where `part` was, in staging, and is
    removed with that.
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
    """Remove a folder.

    It disappears from lists at once, even if removing its contents is interrupted.
    """
    with staging(folder.parent) as gone:
        folder.rename(gone / folder.name)
        sync_folder(folder.parent)


def remove_folders(folders: Sequence[Path]) -> None:
    """Remove folders of one parent, each like `remove_folder`.

    Folders that are missing or cannot be moved are skipped.
    """
    if folders and folders[0].parent.exists():
        with staging(folders[0].parent) as gone:
            for folder in folders:
                with suppress(OSError):
                    folder.rename(gone / folder.name)
            sync_folder(folders[0].parent)


def make_folder(folder: Path) -> None:
    """Create a folder of ours and what is missing above it, durably.

    Where this process may not write there any more, it raises what
    `core.files.write_guard.check_write` raises, and leaves nothing.
    """
    check_write()
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    for one in reversed(missing):
        one.mkdir(0o700, exist_ok=True)
        sync_folder(one.parent)
    try:
        check_write()
    except Exception:
        # Another workspace was put here since the first check.
        for one in missing:
            with suppress(OSError):
                one.rmdir()
        raise


def sync_tree(folder: Path, umask: int = PRIVATE_UMASK) -> None:
    """Sync every file and folder in the folder, and set their permissions.

    Files come first, then the folders from the innermost out.
    """
    for place, _, files in os.walk(folder, topdown=False):
        for name in files:
            if not Path(place, name).is_symlink():
                _sync(Path(place, name), 0o666 & ~umask)
        _sync(Path(place), 0o777 & ~umask)


def sync_folder(folder: Path) -> None:
    """Sync the names in a folder."""
    if not _is_staged(folder):
        # A folder that may be written but not read cannot be opened for syncing.
        with suppress(PermissionError):
            _sync(folder)


def _is_staged(path: Path) -> bool:
    """Return whether the path is inside a part folder.

    A part folder is synced when it is published, or thrown away.
    """
    return any(part.startswith(PART_PREFIX) for part in path.parts)


def _sync(path: Path, mode: int | None = None, permissions_only: bool = False) -> None:
    """Set permissions of a file or folder and sync its contents."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        if mode is not None:
            # Some file systems have no permissions.
            with suppress(OSError):
                os.fchmod(descriptor, mode)
        if not permissions_only:
            os.fsync(descriptor)
    except OSError as error:
        # Some cannot sync.
        if error.errno not in _UNSUPPORTED:
            error.filename = str(path)
            raise
    finally:
        os.close(descriptor)


def _swap(one: Path, other: Path) -> bool:
    """Exchange the names of two things atomically; False where the system cannot."""
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
    """Move the old target aside, then move `part` to `target`.

    If this is interrupted, a clean-up moves the old target back.
    """
    with part_folder(target.parent) as aside:
        (aside / REPLACED_FOLDER).mkdir(0o700)
        sync_folder(aside)
        sync_folder(target.parent)
        target.rename(aside / REPLACED_FOLDER / target.name)
        sync_folder(aside / REPLACED_FOLDER)
        part.rename(target)
        sync_folder(target.parent)
