"""Classify exceptions: out of memory, a failed device, or a file operation the system refused.

The kind is decided by errno, exception type, SQLite's error code, and the current state of the
disk. Words of a message are read only where a library gives nothing else, and then only as the
whole message of that library's own exception.
"""

import errno
import os
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO


def _errnos(*names: str) -> set[int]:
    """Return the errnos of these names, as far as this system has them."""
    return {getattr(errno, name) for name in names if hasattr(errno, name)}


DISK_FULL = _errnos("ENOSPC", "EDQUOT")
ACCESS_DENIED = _errnos("EACCES", "EPERM", "EROFS")
IO_FAILED = _errnos("EIO", "ESTALE", "EUCLEAN", "EREMOTEIO")
BAD_PATH = _errnos("ENOTDIR", "EISDIR", "ENAMETOOLONG", "ELOOP")
WRITE_ERRNOS = {*DISK_FULL, errno.EFBIG, errno.EROFS}
"""Errors that occur only in writing."""
_SYSTEM_ERRNOS = DISK_FULL | ACCESS_DENIED | IO_FAILED | _errnos("EFBIG", "EMFILE", "ENFILE")
_MIN_FREE_BYTES = 2**16
"""Free bytes below which a disk is full."""
UNFINISHED_PREFIX = ".part-"
"""How names begin of what is being written and gets its own name last
(core.workspace.write_atomic)."""
_PROGRAMMING_ERRORS = (AssertionError, AttributeError, LookupError, NameError, TypeError)
"""Errors in the code, whatever else was going wrong when they were raised."""

# Messages of libraries that give neither an errno nor a type of their own; each is matched as a
# whole.
_NUMPY_SHORT_WRITE = re.compile(r"\d+ requested and \d+ written")
_TORCH_SHORT_WRITE = re.compile(
    r"\[enforce fail at inline_container\.cc:\d+\] \. (?:unexpected pos \d+ vs \d+"
    r"|PytorchStreamWriter failed writing [^\n]+)"
)
_ARROW_OPEN = re.compile(r"Failed to open local file '(.+)'\. Detail: \[errno \d+\] [^\n]+")
_SAFETENSORS = re.compile(
    r'Error while (?:de)?serializing: I/O error: .+ \(os error (\d+)\)(?: at path "(.+)")?'
)
_TORCH_MEMORY = re.compile(
    r"(?:\[enforce fail at [^\]]*alloc_cpu\.cpp:\d+\] [^:]*)?"
    r"DefaultCPUAllocator: (?:can't allocate|not enough) memory: you tried.*"
    r"|CUDA out of memory\. Tried to allocate .+"
    r"|CUDA error: out of memory(?:\n.*)?"
    r"|std::bad_alloc",
    re.DOTALL,
)
_TORCH_CUDA = re.compile(r"CUDA error: .+", re.DOTALL)
SQLITE_BUSY_CODES = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)
"""SQLite's codes for a store that another process keeps; the last where that process was stopped
while it held a lock of the write-ahead log."""
_SQLITE_CODES = {
    "database or disk is full": sqlite3.SQLITE_FULL,
    "disk I/O error": sqlite3.SQLITE_IOERR,
    "attempt to write a readonly database": sqlite3.SQLITE_READONLY,
    "unable to open database file": sqlite3.SQLITE_CANTOPEN,
    "database is locked": sqlite3.SQLITE_BUSY,
    "database table is locked": sqlite3.SQLITE_LOCKED,
    "locking protocol": sqlite3.SQLITE_PROTOCOL,
    "database disk image is malformed": sqlite3.SQLITE_CORRUPT,
    "file is not a database": sqlite3.SQLITE_NOTADB,
}
"""SQLite's own words for its codes, for an error that has lost its code on the way from another
process."""


@dataclass(frozen=True)
class Failure:
    """What the system refused.

    Args:
        errno: the system's number.
        paths: of the files concerned, where they are known.
    """

    errno: int
    paths: tuple[Path, ...] = ()

    @property
    def description(self) -> str:
        """The system's own words, such as "permission denied"."""
        words = os.strerror(self.errno)
        return words[:1].lower() + words[1:]


def exception_chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the error, the error it was raised from, and so on.

    The error that was being handled when it was raised is included too, unless the error is a
    programming error.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        handled = (
            None
            if error.__suppress_context__ or isinstance(error, _PROGRAMMING_ERRORS)
            else error.__context__
        )
        error = error.__cause__ or handled


def _has_class_named(error: BaseException, package: str, name: str) -> bool:
    """Return whether the error is of a class of that name in that package.

    The package need not be imported.
    """
    return any(
        one.__name__ == name and one.__module__.partition(".")[0] == package
        for one in type(error).__mro__
    )


def _raised_in(error: BaseException, module: str) -> bool:
    """Return whether the error was raised by code of that module, by its traceback."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return frame is not None and frame.tb_frame.f_globals.get("__name__") == module


def is_gpu_failure(error: BaseException) -> bool:
    """Return whether the error itself says that CUDA failed."""
    if _has_class_named(error, "torch", "AcceleratorError"):
        return True
    return type(error) is RuntimeError and _TORCH_CUDA.fullmatch(str(error)) is not None


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether the error itself says that a device or the machine had no memory left."""
    if isinstance(error, MemoryError) or _has_class_named(error, "torch", "OutOfMemoryError"):
        return True
    if _has_class_named(error, "torch", "AcceleratorError"):
        # 2 is cudaErrorMemoryAllocation, raised outside torch's own allocator.
        return getattr(error, "error_code", None) == 2
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return type(error) is RuntimeError and _TORCH_MEMORY.fullmatch(str(error)) is not None


def is_system_failure(error: BaseException) -> bool:
    """Return whether the error itself says that the system refused something.

    Such an error does not depend on the content of the file.
    """
    failure = failure_of(error)
    return is_out_of_memory(error) or (failure is not None and failure.errno in _SYSTEM_ERRNOS)


def failure_of(error: BaseException) -> Failure | None:
    """Return errno and files of the error; None where it has no errno."""
    if isinstance(error, OSError) and error.errno is not None:
        names = [error.filename, error.filename2]
        if opened := _ARROW_OPEN.fullmatch(str(error.strerror)):
            names = [opened[1]]
        return Failure(
            error.errno,
            tuple(Path(os.fsdecode(name)) for name in names if isinstance(name, str | bytes)),
        )
    if _has_class_named(error, "safetensors", "SafetensorError") and (
        found := _SAFETENSORS.fullmatch(str(error))
    ):
        return Failure(int(found[1]), (Path(found[2]).parent,) if found[2] else ())
    return None


def hides_errno(error: BaseException) -> bool:
    """Return whether the library that raised the error may hide why it could not write.

    NumPy and torch.save may fail to write without an errno.
    """
    if type(error) is OSError:
        return error.errno is None
    return type(error) is RuntimeError and _raised_in(error, "torch.serialization")


def is_short_write(error: BaseException) -> bool:
    """Return whether the error says that a file was written only in part, without saying why.

    NumPy and torch.save raise such errors.
    """
    if type(error) is OSError:
        return error.errno is None and _NUMPY_SHORT_WRITE.fullmatch(str(error)) is not None
    return type(error) is RuntimeError and _TORCH_SHORT_WRITE.fullmatch(str(error)) is not None


def sqlite_code(error: sqlite3.Error) -> int:
    """Return SQLite's primary result code, such as sqlite3.SQLITE_FULL; 0 where it is not known."""
    code = getattr(error, "sqlite_errorcode", None)
    # The lowest byte is the primary code; the bytes above it refine it.
    return _SQLITE_CODES.get(str(error), 0) if code is None else code & 0xFF


def probe_write(part: Path) -> int | None:
    """Write some bytes to a file, or to a new file in a folder, and return the errno.

    If writing works, None is returned.
    """
    try:
        if part.is_dir():
            with tempfile.NamedTemporaryFile(dir=part, prefix=UNFINISHED_PREFIX) as stream:
                _write_some(stream)
        else:
            with part.open("ab") as stream:
                _write_some(stream)
    except OSError as error:
        return error.errno
    return None


def _write_some(stream: IO[bytes]) -> None:
    stream.write(bytes(_MIN_FREE_BYTES))
    stream.flush()
    os.fsync(stream.fileno())


def is_disk_full(path: Path) -> bool:
    """Return whether the disk of `path` is full now."""
    try:
        return shutil.disk_usage(path).free < _MIN_FREE_BYTES
    except OSError:
        return False


def has_access(path: Path, mode: int) -> bool:
    """Return whether this process may do that with `path`.

    Args:
        path: a file or folder.
        mode: os.R_OK, W_OK, X_OK, or F_OK for whether it exists.
    """
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)
