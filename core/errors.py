"""Errors a user can act on, and sentences for what the system refuses: disk, rights, memory.

A message is a whole sentence: what was wrong, the value received, what to do. Which kind of failure
an exception is, core.error_kinds tells by errno, type and state of the disk, and not by words that
may stand in any message.
"""

import errno
import os
import shutil
import sqlite3
import tempfile
from pathlib import Path

from core.error_kinds import (
    BROKEN,
    FULL,
    REFUSED,
    STORE_BUSY,
    UNFINISHED,
    WRITING,
    WRONG_PATH,
    Failure,
    allowed,
    came_short,
    chain,
    failure_of,
    gpu_failed,
    has_no_room,
    hides_errno,
    is_system_failure,
    no_memory,
    refusal,
    sqlite_code,
)
from core.program import PROGRAM


class ThawError(Exception):
    """A failure explained to the user; pages and the command line show its message as it is."""


class BadInput(ThawError):
    """A file, name or setting that cannot be used (command line: exit status 2)."""


class UnreadableRow(BadInput):
    """Rows that cannot be read, one or those after a break, where the rest can be (`on_bad_rows`
    "skip")."""


class NameTaken(BadInput):
    """A name that something else of the same kind has."""


class Damaged(BadInput):
    """A file of the workspace that cannot be used: the message names it and says what to do. path:
    the file."""

    path: Path = Path()


class ReaderFailed(BadInput):
    """A file that ended the process reading it, or that this process gave up
    (core.data.reader_process).

    cause: how, in a word or two, such as "signal 6", "no memory" or the type of an exception nobody
    expected.
    """

    def __init__(self, sentence: str, cause: str) -> None:
        super().__init__(sentence)
        self.cause = cause


class RunError(ThawError):
    """A run that could not be carried through, such as a loss that became NaN (command line: exit
    status 1)."""


def out_of_memory(error: BaseException) -> bool:
    """Whether the device or the machine had no memory left."""
    return any(no_memory(one) for one in chain(error))


def device_failed(error: BaseException) -> bool:
    """Whether a GPU failed under a computation; its process cannot use it any more."""
    return any(gpu_failed(one) for one in chain(error))


def refused_by_system(error: BaseException) -> bool:
    """Whether disk, rights, memory or open files were lacking: the error then says nothing of what
    a file holds."""
    return any(is_system_failure(one) for one in chain(error))


def system_sentence(error: BaseException, root: Path) -> str | None:
    """What is wrong with disk, rights or memory, in a sentence; None for any other error. root: the
    workspace.

    The sentence names the file that the error names. What an error was raised from, or while
    handling, counts as well.
    """
    for one in chain(error):
        if no_memory(one):
            return (
                "This machine ran out of memory. Close what else runs, or take fewer rows, then try"
                " again."
            )
        if isinstance(one, sqlite3.Error):
            sentence = _store_sentence(one, root)
        else:
            failure = failure_of(one)
            sentence = _failure_sentence(failure, root) if failure else _hidden_sentence(one, root)
        if sentence:
            return sentence
    return None


def disk_sentence(root: Path) -> str | None:
    """That the workspace's disk is full or may not be written, though nothing has failed for it;
    None if all is well.

    root: the workspace.
    """
    if has_no_room(root):
        return _full(root, root)
    return None if allowed(root, os.W_OK) else _not_writable(root, "its folder is read-only")


def name_write_error(error: BaseException, part: Path, path: Path) -> None:
    """Has the failed writing of `part`, which was to become `path`, speak of `path`; call it before
    `part` is removed.

    Where a library hides why it could not write, some bytes more are written to `part`, and the
    system's own error is raised from `error`. part: the unfinished file, or a folder of unfinished
    files.
    """
    if isinstance(error, OSError) and error.errno is not None:
        if error.filename2 is not None and str(error.filename2) == str(part):
            error.filename2 = str(path)
        elif str(error.filename) == str(part) or (
            error.filename is None and error.errno in WRITING
        ):
            error.filename = str(path)
        return
    failure = failure_of(error)
    number = failure.number if failure else refusal(part) if hides_errno(error) else None
    if number is not None:
        raise OSError(number, os.strerror(number), str(path)) from error


def _hidden_sentence(error: BaseException, root: Path) -> str | None:
    """For an error that hides its errno: what the state of the workspace's disk says, else that
    writing came short."""
    if hides_errno(error) and has_no_room(root):
        return _full(root, root)
    if not came_short(error):
        return None
    return (
        "A file could not be written to its end: its disk is full, or a limit on the size of files"
        f" was reached. The disk with the workspace {str(root)!r} has {_free(root)} free; free some"
        " space, then try again."
    )


def _failure_sentence(failure: Failure, root: Path) -> str | None:
    number, paths = failure.number, failure.paths
    if number in FULL:
        # Of two files the second is the one to be written.
        return _full(paths[-1], root) if paths else _full_somewhere(root)
    if number in REFUSED:
        return _refused_sentence(failure, root)
    if number in BROKEN:
        return _broken(paths[-1] if paths else None, failure.words, root)
    if number == errno.EFBIG:
        file = f"The file {_shown(paths[-1])}" if paths else "A file"
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
    if number in WRONG_PATH and paths and not _inside(paths[-1], root):
        return f"{_shown(paths[-1])} cannot be used ({failure.words}): choose another path."
    return None


def _full(path: Path, root: Path) -> str:
    """That the disk of `path` is full."""
    if _on_workspace_disk(path, root):
        place = f"The disk with the workspace {str(root)!r}"
        return (
            f"{place} is full. Free some space, then try again; nothing that was there before is"
            " lost."
        )
    folder = _finished(path).absolute()
    # Path.is_dir raises where a folder above may not be entered.
    folder = folder if os.path.isdir(folder) else folder.parent  # noqa: PTH112
    return (
        f"The disk with {str(folder)!r} is full. Free some space there, or choose another folder,"
        " then try again."
    )


def _full_somewhere(root: Path) -> str:
    """For an error that names no file: the disk that has no room, or all that may have had none."""
    temporary = Path(tempfile.gettempdir())
    for place in (root, temporary):
        if has_no_room(place):
            return _full(place, root)
    return (
        "A disk is full. Free some space, then try again; nothing that was there before is lost."
        f" Free are now {_free(root)} on the disk with the workspace {str(root)!r}, and"
        f" {_free(temporary)} on the one with temporary files, {str(temporary)!r}."
    )


def _refused_sentence(failure: Failure, root: Path) -> str | None:
    """Who may not read or write what; None for an error that names no file where the workspace may
    be written."""
    why = "its disk is read-only" if failure.number == errno.EROFS else failure.words
    if not failure.paths:
        if not allowed(root, os.W_OK):
            return _not_writable(root, why)
        # Rights are also asked for other things than files, such as stopping a process.
        return (
            f"A file may not be written ({why}): choose another folder."
            if failure.number == errno.EROFS
            else None
        )
    # Of two files the one that cannot be had; where the rights do not tell, the one to be written.
    told = [(path, _right_lacking(path, failure.number)) for path in reversed(failure.paths)]
    path, lacking = next(
        ((path, word) for path, word in told if word), (told[0][0], "read or written")
    )
    if _inside(path, root):
        whole = not allowed(root, os.W_OK) or (
            failure.number == errno.EROFS and _on_workspace_disk(path, root)
        )
        if lacking == "written" and whole:
            return _not_writable(root, why)
        return (
            f"{_shown(path)} in the workspace may not be {lacking} ({why}); change its rights, or"
            " set THAW_HOME."
        )
    if lacking == "read":
        return f"{_shown(path)} may not be read ({why}): change its rights or take another file."
    choose = (
        "choose another folder"
        if failure.number == errno.EROFS
        else "choose another folder or change its rights"
    )
    return f"{_shown(path)} may not be {lacking} ({why}): {choose}."


def _right_lacking(path: Path, number: int) -> str:
    """ "written" or "read", by the rights there are now; "" where they do not tell."""
    if number == errno.EROFS:
        return "written"
    if allowed(path, os.F_OK):
        return (
            "read"
            if not allowed(path, os.R_OK)
            else "written"
            if not allowed(path, os.W_OK)
            else ""
        )
    # A file that is not there is refused to be made, unless nobody may look into its folder.
    return "written" if allowed(_there(path), os.X_OK) else ""


def _store_sentence(error: sqlite3.Error, root: Path) -> str | None:
    """By SQLite's error code; the only database that Thaw has is the workspace's run store."""
    code = sqlite_code(error)
    if code == sqlite3.SQLITE_FULL:
        return _full(root, root)
    if code in STORE_BUSY:
        return (
            "The run store is busy: another process has kept it for half a minute. Try again in a"
            f" moment; if a worker has stalled, which its run's page and `{PROGRAM} runs` say,"
            " continue or end it first."
        )
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return (
            f"The run store {str(_store_of(root))!r} is damaged ({error}). Put a copy of it in its"
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
    # SQLite says so of a full disk and of a process without a file to open as well.
    if has_no_room(root):
        return _full(root, root)
    if failure := _opening_files():
        return _failure_sentence(failure, root)
    store = _store_of(root)
    if allowed(root, os.W_OK) and allowed(store, os.F_OK) and not allowed(store, os.R_OK | os.W_OK):
        return (
            f"The run store {str(store)!r} may not be written ({error}); change its rights, or set"
            " THAW_HOME."
        )
    if code == sqlite3.SQLITE_IOERR:
        return _broken(root, str(error), root)
    return _not_writable(root, str(error))


def _opening_files() -> Failure | None:
    """What the system says to one more open file; None where it allows it.

    Not the store itself: closing it would free the locks that this process has on it.
    """
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return failure_of(error)
    return None


def _store_of(root: Path) -> Path:
    # As core.workspace names it, which imports this module.
    return root / "thaw.sqlite"


def _broken(path: Path | None, words: str, root: Path) -> str:
    if path is None:
        return (
            f"A disk cannot be read or written ({words}); check the disks of the files in use and"
            f" of {str(root)!r}."
        )
    place = f"the workspace {str(root)!r}" if _on_workspace_disk(path, root) else _shown(path)
    return f"The disk with {place} cannot be read or written ({words}); check the disk."


def _not_writable(root: Path, why: str) -> str:
    return (
        f"The workspace {str(root)!r} may not be written ({why}); change its rights, or set"
        " THAW_HOME."
    )


def _free(path: Path) -> str:
    try:
        return f"{shutil.disk_usage(path).free / 1e6:,.1f} MB"
    except OSError:
        return "an unknown number of bytes"


def _finished(path: Path) -> Path:
    """The folder in which something unfinished was to get its name, for a path through it; else the
    path itself."""
    for place, part in enumerate(path.parts):
        if part.startswith(UNFINISHED):
            return Path(*path.parts[:place])
    return path


def _shown(path: Path) -> str:
    return repr(str(_finished(path).absolute()))


def _inside(path: Path, root: Path) -> bool:
    """Whether the path is the workspace or lies in it."""
    return path.absolute().is_relative_to(root) or path.resolve().is_relative_to(root.resolve())


def _on_workspace_disk(path: Path, root: Path) -> bool:
    """Whether the path lies in the workspace and on its disk; a folder of it may be a link to
    another one."""
    if not _inside(path, root):
        return False
    try:
        return _there(path).stat().st_dev == _there(root).stat().st_dev
    except OSError:
        return True


def _there(path: Path) -> Path:
    """The path, or the nearest folder above it that exists."""
    path = path.absolute()
    return next((one for one in (path, *path.parents) if allowed(one, os.F_OK)), path)
