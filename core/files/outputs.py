"""Output files and folders that a user names, written completely or not at all.

`check_output` and `check_output_folder` are called before any work is done, so that an hour of work
never ends in "cannot be written". `write_output` and `output_folder` write under a temporary name
beside the output, sync it and move it there (core.files.durable). Both follow symbolic links,
create missing folders, and give new files the permissions of the user's umask, unlike
`core.workspace.write_atomic`, which is for the workspace's own files. Leftovers of a killed process
beside an output are removed when the next output is written there.
"""

import errno
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from core.errors import BadInput, RunError
from core.files.durable import publish_file, publish_folder, staging, sync_folder, sync_tree
from core.files.leftovers import remove_leftovers_in
from core.files.permissions import user_umask

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
PIPE_TIMEOUT = 2.0
"""Seconds to wait for a reader of a pipe."""


def check_output(path: Path, inputs: Iterable[Path] = ()) -> None:
    """Checks that a file can be written at `path`; leaves nothing behind.

    Args:
        path: the output. A file that is there will be replaced; a folder that is missing will be
        made. A named pipe or
            a character device such as /dev/null is accepted: the finished bytes are copied into it.
        inputs: files that are read for this output and must not be overwritten. They are compared
        as files, so a
            relative path, a symbolic or a hard link to one of them is recognised.

    Raises:
        BadInput: `path` is a folder, one of the inputs, this process's own standard output,
        read-only, or cannot be
            created where it is.
    """
    found = _stat_or_none(path)
    if found is not None and stat.S_ISDIR(found.st_mode):
        raise BadInput(f"The output {str(path)!r} is a folder; name a file in it.")
    for one in inputs:
        if found is not None and _same_file(found, one):
            raise BadInput(
                f"The output {str(path)!r} is the input {str(one)!r} itself, which would be"
                " overwritten; name another output file."
            )
    if found is None:
        _check_folder(path)
    elif stat.S_ISREG(found.st_mode):
        _check_own_stream(path, found)
        if not os.access(path, os.W_OK):
            raise BadInput(f"The output {str(path)!r} is a read-only file; name another file.")
        _check_folder(path)
    elif _is_stream(found.st_mode):
        _check_own_stream(path, found)
    else:
        raise BadInput(f"The output {str(path)!r} is neither a file nor a pipe; name a file.")


def write_output(path: Path, write: Callable[[Path], object], inputs: Iterable[Path] = ()) -> None:
    """Call `write` with a temporary path, then move that file to `path`.

    On any failure `path` is as it was. A pipe or device gets the finished bytes, so it too receives
    everything or nothing.

    Args:
        path: the output.
        write: writes the file to the path it is called with.
        inputs: see `check_output`, which is called first.

    Raises:
        BadInput: see `check_output`.
        RunError: the disk of the output is full.
    """
    check_output(path, inputs)
    found = _stat_or_none(path)
    if found is not None and _is_stream(found.st_mode):
        _write_stream(path, write)
        return
    target = _resolve(path)
    mode = 0o666 & ~user_umask() if found is None else stat.S_IMODE(found.st_mode)
    with (
        _make_folders(target.parent),
        _explain_full_disk(path, target.parent),
        staging(target.parent) as folder,
    ):
        part = folder / f"output{target.suffix[:20]}"
        write(part)
        publish_file(part, target, mode)


def check_output_folder(path: Path) -> None:
    """Check that `path` is an empty folder, or that a new one can be made there.

    The check leaves nothing behind.

    Raises:
        BadInput: there is a file at `path`, the folder holds something, or it cannot be created or
            written.
    """
    found = _stat_or_none(path)
    if found is not None and not stat.S_ISDIR(found.st_mode):
        raise BadInput(f"The output folder {str(path)!r} is a file; name a new or an empty folder.")
    if found is not None:
        remove_leftovers_in(path)
    try:
        if found is not None and any(path.iterdir()):
            raise BadInput(f"The folder {str(path)!r} is not empty; name a new or an empty one.")
    except OSError as error:
        raise BadInput(
            f"The output folder {str(path)!r} cannot be read ({error.strerror}); name another."
        ) from error
    _check_folder(path / "file" if found is not None else path)


@contextmanager
def output_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder whose contents are moved to the folder `path` at the end.

    They are moved only if the block ends without an exception.

    Raises:
        BadInput: see `check_output_folder`, which is called first.
        RunError: the disk of the output is full.
    """
    check_output_folder(path)
    target = _resolve(path)
    there = target.is_dir()
    # Within the folder where there is one: it may be on another file system than its parent.
    around = target if there else target.parent
    with _make_folders(around), _explain_full_disk(path, around), staging(around) as folder:
        yield folder
        if there:
            sync_tree(folder, user_umask())
            for entry in sorted(folder.iterdir()):
                entry.rename(target / entry.name)
            sync_folder(target)
        else:
            publish_folder(folder, target, user_umask())


def _stat_or_none(path: Path) -> os.stat_result | None:
    """Return the status of what is at `path`, following links; None where there is nothing yet."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise BadInput(
            f"The output {str(path)[:200]!r} cannot be used ({why}); name another."
        ) from error


def _same_file(found: os.stat_result, other: Path) -> bool:
    try:
        return os.path.samestat(found, other.stat())
    except (OSError, ValueError):
        return False


def _is_stream(mode: int) -> bool:
    """Return whether bytes can only be copied into it: a named pipe or a character device."""
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


def _check_own_stream(path: Path, found: os.stat_result) -> None:
    """Raise BadInput for this process's standard output or error, which carry its messages."""
    with suppress(OSError):
        if stat.S_ISCHR(found.st_mode) and found.st_rdev == os.stat(os.devnull).st_rdev:  # noqa: PTH116
            return
    for descriptor in (1, 2):
        with suppress(OSError):
            if os.path.samestat(found, os.fstat(descriptor)):
                name = "output" if descriptor == 1 else "error"
                raise BadInput(
                    f"The output {str(path)!r} is this command's standard {name}, which carries its"
                    " messages; name a file."
                )


def _resolve(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _check_folder(path: Path) -> None:
    """Raise BadInput unless something can be created at `path`.

    It is tried, since permissions do not tell everything.
    """
    folder = _resolve(path).parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        raise BadInput(
            f"The output {str(path)!r} cannot be created: {str(folder)!r} is a file, not a folder."
        )
    try:
        # A temporary file without a name, which a killed process does not leave behind.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise BadInput(
            f"The output {str(path)!r} cannot be created: the folder {str(folder)!r} cannot be"
            f" written ({error.strerror}); name another."
        ) from error


def _write_stream(path: Path, write: Callable[[Path], object]) -> None:
    with staging(Path(tempfile.gettempdir())) as folder:
        part = folder / f"output{path.suffix[:20]}"
        write(part)
        try:
            with part.open("rb") as source, open(path, "wb", opener=_open_nonblocking) as target:
                shutil.copyfileobj(source, target)
        except OSError as error:
            raise BadInput(
                f"The output {str(path)!r} cannot be written ({error.strerror}); name a file."
            ) from error


def _open_nonblocking(path: str, flags: int) -> int:
    """Open a stream for writing and return its descriptor.

    Raises:
        BadInput: it is a pipe that nobody reads, which would block for ever.
    """
    # The reader may be about to start.
    end = time.monotonic() + PIPE_TIMEOUT
    while True:
        try:
            descriptor = os.open(path, flags & ~(os.O_CREAT | os.O_TRUNC) | os.O_NONBLOCK)
            break
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
        if time.monotonic() > end:
            raise BadInput(
                f"The output {path!r} is a pipe that nobody reads; start its reader, or name a"
                " file."
            )
        time.sleep(0.01)
    os.set_blocking(descriptor, True)
    return descriptor


@contextmanager
def _make_folders(folder: Path) -> Iterator[None]:
    """Create `folder` and the missing folders above it.

    If the block fails, the folders that were created are removed.
    """
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        for one in reversed(missing):
            one.mkdir(exist_ok=True)
            one.chmod(0o777 & ~user_umask())
            sync_folder(one.parent)
        yield
    except BaseException:
        for one in missing:
            with suppress(OSError):
                one.rmdir()
        raise


@contextmanager
def _explain_full_disk(path: Path, folder: Path) -> Iterator[None]:
    """Replace "no space left" by a sentence that names the output, where its disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno in _DISK_FULL and shutil.disk_usage(folder).free < 2**20:
            raise RunError(
                f"The disk of the output {str(path)!r} is full; nothing was written. Free some"
                " space, or name an output elsewhere."
            ) from error
        raise
