"""Errors that a user can act on, and messages for what the system refuses.

The system may refuse for lack of disk space, permissions or memory. A message is a whole sentence:
what was wrong, the value received, what to do. Which kind of failure an exception is,
core.error_kinds decides by errno, type and state of the disk, and not by words that may occur in
any message.
"""

import errno
import os
import shutil
import sqlite3
import tempfile
from pathlib import Path

from core.error_kinds import (
    ACCESS_DENIED,
    BAD_PATH,
    DISK_FULL,
    IO_FAILED,
    SQLITE_BUSY_CODES,
    UNFINISHED_PREFIX,
    WRITE_ERRNOS,
    Failure,
    exception_chain,
    failure_of,
    has_access,
    hides_errno,
    is_disk_full,
    is_gpu_failure,
    is_out_of_memory,
    is_short_write,
    is_system_failure,
    probe_write,
    sqlite_code,
)
from core.program import PROGRAM


class ThawError(Exception):
    """A failure explained to the user; pages and the command line show its message as it is."""


class BadInput(ThawError):
    """A file, name or setting that cannot be used (command line: exit status 2)."""


class UnreadableRow(BadInput):
    """Rows that cannot be read while others can (`on_bad_rows` "skip").

    It is a single row, or all rows after a break.
    """


class NameTaken(BadInput):
    """A name that another thing of the same kind has."""


class Damaged(BadInput):
    """A file of the workspace that cannot be used; the message names it and says what to do.

    Args:
        path: the file.
    """

    path: Path = Path()


class ReaderFailed(BadInput):
    """A file that ended the process that read it, or whose reading was stopped.

    See core.data.reading.reader_process.

    Args:
        message: for the user.
        cause: in a word or two, such as "signal 6", "no memory" or the type of an unexpected
            exception.
    """

    def __init__(self, message: str, cause: str) -> None:
        super().__init__(message)
        self.cause = cause


class RunError(ThawError):
    """A run that could not be finished, such as a loss that became NaN.

    The exit status on the command line is 1.
    """


def caused_by_out_of_memory(error: BaseException) -> bool:
    """Return whether the device or the machine had no memory left."""
    return any(is_out_of_memory(one) for one in exception_chain(error))


def caused_by_gpu_failure(error: BaseException) -> bool:
    """Return whether a GPU failed during a computation; its process cannot use it any more."""
    return any(is_gpu_failure(one) for one in exception_chain(error))


def caused_by_system(error: BaseException) -> bool:
    """Return whether disk, permissions, memory or open files were lacking.

    The error then says nothing about what a file holds.
    """
    return any(is_system_failure(one) for one in exception_chain(error))


def explain_system_error(error: BaseException, root: Path) -> str | None:
    """Return a sentence on what is wrong with disk, permissions or memory; None for other errors.

    The errors it was raised from, or while handling, count as well. The sentence names the file
    that the error names.

    Args:
        error: what was raised.
        root: the workspace.
    """
    for one in exception_chain(error):
        if is_out_of_memory(one):
            return (
                "This machine ran out of memory. Close what else runs, or take fewer rows, then try"
                " again."
            )
        if isinstance(one, sqlite3.Error):
            sentence = _explain_sqlite_error(one, root)
        else:
            failure = failure_of(one)
            sentence = (
                _explain_failure(failure, root) if failure else _explain_hidden_errno(one, root)
            )
        if sentence:
            return sentence
    return None


def explain_disk_problem(root: Path) -> str | None:
    """Return a message if the workspace's disk is full or read-only, else None.

    It can be called before anything has failed.

    Args:
        root: the workspace.
    """
    if is_disk_full(root):
        return _disk_full_message(root, root)
    return (
        None
        if has_access(root, os.W_OK)
        else _not_writable_message(root, "its folder is read-only")
    )


def set_write_error_path(error: BaseException, part: Path, path: Path) -> None:
    """Make the error of a failed write name the final path instead of the unfinished file.

    Call it before `part`, which was to become `path`, is removed. Where a library hides why it
    could not write, some more bytes are written to `part`, and the system's own error is raised
    from `error`.

    Args:
        error: what was raised.
        part: the unfinished file, or a folder of unfinished files.
        path: the final path.
    """
    if isinstance(error, OSError) and error.errno is not None:
        if error.filename2 is not None and str(error.filename2) == str(part):
            error.filename2 = str(path)
        elif str(error.filename) == str(part) or (
            error.filename is None and error.errno in WRITE_ERRNOS
        ):
            error.filename = str(path)
        return
    failure = failure_of(error)
    number = failure.errno if failure else probe_write(part) if hides_errno(error) else None
    if number is not None:
        raise OSError(number, os.strerror(number), str(path)) from error


def _explain_hidden_errno(error: BaseException, root: Path) -> str | None:
    """Return the message for an error without errno; None if it is not a failed write.

    The message says that the disk is full, if it is, else that writing stopped early.
    """
    if hides_errno(error) and is_disk_full(root):
        return _disk_full_message(root, root)
    if not is_short_write(error):
        return None
    return (
        "A file could not be written to its end: its disk is full, or a limit on the size of files"
        f" was reached. The disk with the workspace {str(root)!r} has {_format_free_space(root)}"
        " free; free some"
        " space, then try again."
    )


def _explain_failure(failure: Failure, root: Path) -> str | None:
    number, paths = failure.errno, failure.paths
    if number in DISK_FULL:
        # Of two files the second is the one being written.
        return _disk_full_message(paths[-1], root) if paths else _some_disk_full_message(root)
    if number in ACCESS_DENIED:
        return _explain_access_denied(failure, root)
    if number in IO_FAILED:
        return _io_failed_message(paths[-1] if paths else None, failure.description, root)
    if number == errno.EFBIG:
        file = f"The file {_format_path(paths[-1])}" if paths else "A file"
        return (
            f"{file} would become larger than its disk or the limit on the size of files (ulimit"
            " -f) allows: choose another disk or raise the limit, then try again."
        )
    if number == errno.ENFILE:
        return "This machine has too many files open. Close what else runs, then try again."
    if number == errno.EMFILE:
        return (
            "Thaw has as many files open as it may. Raise the limit (ulimit -n), then start Thaw"
            " again."
        )
    if number in BAD_PATH and paths and not _is_inside(paths[-1], root):
        shown = _format_path(paths[-1])
        return f"{shown} cannot be used ({failure.description}): choose another path."
    return None


def _disk_full_message(path: Path, root: Path) -> str:
    """Say that the disk of `path` is full."""
    if _is_on_workspace_disk(path, root):
        place = f"The disk with the workspace {str(root)!r}"
        return (
            f"{place} is full. Free some space, then try again; nothing that was there before is"
            " lost."
        )
    folder = _final_path(path).absolute()
    # Not Path.is_dir, which raises where a folder above may not be entered.
    folder = folder if os.path.isdir(folder) else folder.parent  # noqa: PTH112
    return (
        f"The disk with {str(folder)!r} is full. Free some space there, or choose another folder,"
        " then try again."
    )


def _some_disk_full_message(root: Path) -> str:
    """Return the message that a disk is full, for an error that names no file.

    It names the disk without space, or all disks that may have had none.
    """
    temporary = Path(tempfile.gettempdir())
    for place in (root, temporary):
        if is_disk_full(place):
            return _disk_full_message(place, root)
    return (
        "A disk is full. Free some space, then try again; nothing that was there before is lost."
        f" Free are now {_format_free_space(root)} on the disk with the workspace {str(root)!r},"
        " and"
        f" {_format_free_space(temporary)} on the one with temporary files, {str(temporary)!r}."
    )


def _explain_access_denied(failure: Failure, root: Path) -> str | None:
    """Say which file or folder may not be read or written, and why.

    None for an error that names no file, if the workspace is writable.
    """
    why = "its disk is read-only" if failure.errno == errno.EROFS else failure.description
    if not failure.paths:
        if not has_access(root, os.W_OK):
            return _not_writable_message(root, why)
        # Permissions concern other things than files, too, such as stopping a process.
        return (
            f"A file may not be written ({why}): choose another folder."
            if failure.errno == errno.EROFS
            else None
        )
    # Of two files the one without permission; where that is not known, the one being written.
    told = [(path, _missing_permission(path, failure.errno)) for path in reversed(failure.paths)]
    path, lacking = next(
        ((path, word) for path, word in told if word), (told[0][0], "read or written")
    )
    if _is_inside(path, root):
        whole = not has_access(root, os.W_OK) or (
            failure.errno == errno.EROFS and _is_on_workspace_disk(path, root)
        )
        if lacking == "written" and whole:
            return _not_writable_message(root, why)
        return (
            f"{_format_path(path)} in the workspace may not be {lacking} ({why}); change its"
            " rights, or"
            " set THAW_HOME."
        )
    if lacking == "read":
        return (
            f"{_format_path(path)} may not be read ({why}): change its rights or take another file."
        )
    choose = (
        "choose another folder"
        if failure.errno == errno.EROFS
        else "choose another folder or change its rights"
    )
    return f"{_format_path(path)} may not be {lacking} ({why}): {choose}."


def _missing_permission(path: Path, number: int) -> str:
    """Return "written" or "read", by the current permissions; "" where they do not tell."""
    if number == errno.EROFS:
        return "written"
    if has_access(path, os.F_OK):
        return (
            "read"
            if not has_access(path, os.R_OK)
            else "written"
            if not has_access(path, os.W_OK)
            else ""
        )
    # A missing file could not be created, unless its folder may not be entered.
    return "written" if has_access(_nearest_existing(path), os.X_OK) else ""


def _explain_sqlite_error(error: sqlite3.Error, root: Path) -> str | None:
    """Explain SQLite's error code; the workspace's run store is the only database."""
    code = sqlite_code(error)
    if code == sqlite3.SQLITE_FULL:
        return _disk_full_message(root, root)
    if code in SQLITE_BUSY_CODES:
        return (
            "The run store is busy: another process has kept it for half a minute. Try again in a"
            f" moment; if a worker has stalled, which its run's page and `{PROGRAM} runs` say,"
            " continue or end it first."
        )
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return (
            f"The run store {str(_database_path(root))!r} is damaged ({error}). Put a copy of it"
            " in its"
            " place, or move it away to begin with an empty one; samples, datasets and backbones"
            " are files of their own."
        )
    if code not in (
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PERM,
    ):
        return None
    # SQLite has these codes also for a full disk and for a process with too many open files.
    if is_disk_full(root):
        return _disk_full_message(root, root)
    if failure := _probe_open_file():
        return _explain_failure(failure, root)
    store = _database_path(root)
    if (
        has_access(root, os.W_OK)
        and has_access(store, os.F_OK)
        and not has_access(store, os.R_OK | os.W_OK)
    ):
        return (
            f"The run store {str(store)!r} may not be written ({error}); change its rights, or set"
            " THAW_HOME."
        )
    if code == sqlite3.SQLITE_IOERR:
        return _io_failed_message(root, str(error), root)
    return _not_writable_message(root, str(error))


def _probe_open_file() -> Failure | None:
    """Return the failure to open one more file; None where it can be opened.

    Not the store itself: closing it would release this process's locks on it.
    """
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return failure_of(error)
    return None


def _database_path(root: Path) -> Path:
    # Named as in core.workspace, which imports this module.
    return root / "thaw.sqlite"


def _io_failed_message(path: Path | None, words: str, root: Path) -> str:
    if path is None:
        return (
            f"A disk cannot be read or written ({words}); check the disks of the files in use and"
            f" of {str(root)!r}."
        )
    place = (
        f"the workspace {str(root)!r}" if _is_on_workspace_disk(path, root) else _format_path(path)
    )
    return f"The disk with {place} cannot be read or written ({words}); check the disk."


def _not_writable_message(root: Path, why: str) -> str:
    return (
        f"The workspace {str(root)!r} may not be written ({why}); change its rights, or set"
        " THAW_HOME."
    )


def _format_free_space(path: Path) -> str:
    try:
        return f"{shutil.disk_usage(path).free / 1e6:,.1f} MB"
    except OSError:
        return "an unknown number of bytes"


def _final_path(path: Path) -> Path:
    """Return the folder in which an unfinished file was to be published.

    Any other path is returned as it is.
    """
    for place, part in enumerate(path.parts):
        if part.startswith(UNFINISHED_PREFIX):
            return Path(*path.parts[:place])
    return path


def _format_path(path: Path) -> str:
    return repr(str(_final_path(path).absolute()))


def _is_inside(path: Path, root: Path) -> bool:
    """Return whether the path is the workspace or in it."""
    return path.absolute().is_relative_to(root) or path.resolve().is_relative_to(root.resolve())


def _is_on_workspace_disk(path: Path, root: Path) -> bool:
    """Return whether the path is in the workspace and on its disk.

    A folder in the workspace may link to another disk.
    """
    if not _is_inside(path, root):
        return False
    try:
        return _nearest_existing(path).stat().st_dev == _nearest_existing(root).stat().st_dev
    except OSError:
        return True


def _nearest_existing(path: Path) -> Path:
    """Return the path, or the nearest folder above it that exists."""
    path = path.absolute()
    return next((one for one in (path, *path.parents) if has_access(one, os.F_OK)), path)
