"""Errors a user can act on. The message is a whole sentence: what was wrong, the value received, what to do."""

import os
import shutil
from pathlib import Path


class ThawError(Exception):
    """A failure explained to the user; pages and the command line show its message as it is."""


class BadInput(ThawError):
    """A file, name or setting that cannot be used (command line: exit status 2)."""


class RunError(ThawError):
    """A run that could not be carried through, such as a loss that became NaN (command line: exit status 1)."""


_FULL = (
    "No space left",
    "Disk quota exceeded",
    "disk is full",
    "requested and",
    "unexpected pos",
    "StreamWriter failed",
)
"""The last three are numpy's and torch's, which do not say why they could not write on."""
_READ_ONLY = ("Read-only file system", "readonly database", "unable to open database", "Permission denied")
_NO_ROOM = 2**16
"""Free bytes below which a disk is full."""
_BROKEN = ("Input/output error", "disk I/O error", "database disk image is malformed")


def out_of_memory(error: BaseException) -> bool:
    """Whether the device or the machine had no memory left."""
    text = str(error)
    return isinstance(error, MemoryError) or "out of memory" in text.lower() or "can't allocate memory" in text


def system_sentence(error: BaseException, root: Path) -> str | None:
    """What is wrong with disk, rights or memory, in a sentence; None for any other error. root: the workspace."""
    text = str(error)
    broken = any(words in text for words in _BROKEN)
    # SQLite calls a disk broken that has no room for its index of what is new.
    if any(words in text for words in _FULL) or (broken and _no_room(root)):
        return _full(root)
    if any(words in text for words in _READ_ONLY):
        return _not_writable(root, text[:120])
    if broken:
        return f"The disk with the workspace {str(root)!r} cannot be read or written ({text[:120]}); check the disk."
    if "database is locked" in text:
        return "The run store is busy: another process has kept it for half a minute. Try again in a moment."
    if out_of_memory(error):
        return "This machine ran out of memory. Close what else runs, or take fewer rows, then try again."
    return None


def disk_sentence(root: Path) -> str | None:
    """That the workspace's disk is full or may not be written, though nothing has failed for it; None if all is well.

    root: the workspace.
    """
    if _no_room(root):
        return _full(root)
    return None if os.access(root, os.W_OK) else _not_writable(root, "its folder is read-only")


def _full(root: Path) -> str:
    place = f"The disk with the workspace {str(root)!r}"
    return f"{place} is full. Free some space, then try again; nothing that was there before is lost."


def _not_writable(root: Path, why: str) -> str:
    return f"The workspace {str(root)!r} may not be written ({why}); mend its rights, or set THAW_HOME."


def _no_room(root: Path) -> bool:
    try:
        return shutil.disk_usage(root).free < _NO_ROOM
    except OSError:
        return False
