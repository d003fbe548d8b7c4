"""What kind of failure an exception is: no memory, a device that failed, or what the system refused
of which file.

Judged by errno, exception type, SQLite's error code, and the state of the disk now. Words of a
message are read only where a library gives nothing else, and then only as the whole message of that
library's own exception.
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


def _numbers(*names: str) -> set[int]:
    """The errnos of these names, as far as this system has them."""
    return {getattr(errno, name) for name in names if hasattr(errno, name)}


FULL = _numbers("ENOSPC", "EDQUOT")
REFUSED = _numbers("EACCES", "EPERM", "EROFS")
BROKEN = _numbers("EIO", "ESTALE", "EUCLEAN", "EREMOTEIO")
WRONG_PATH = _numbers("ENOTDIR", "EISDIR", "ENAMETOOLONG", "ELOOP")
WRITING = {*FULL, errno.EFBIG, errno.EROFS}
"""Errors that only writing can meet."""
_SYSTEM = FULL | REFUSED | BROKEN | _numbers("EFBIG", "EMFILE", "ENFILE")
_NO_ROOM = 2**16
"""Free bytes below which a disk is full."""
UNFINISHED = ".part-"
"""How names begin of what is being written and gets its own name last
(core.workspace.write_atomic)."""
_PROGRAMMING = (AssertionError, AttributeError, LookupError, NameError, TypeError)
"""Errors that say something of the code, whatever else was going wrong when they were raised."""

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
STORE_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)
"""SQLite's codes for a store that another process keeps; the last where that process was stopped
while it held a lock of the write-ahead log."""
_SQLITE = {
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
    """What the system refused. number: the errno. paths: of the files concerned, where they are
    known."""

    number: int
    paths: tuple[Path, ...] = ()

    @property
    def words(self) -> str:
        """The system's own words, such as "permission denied"."""
        words = os.strerror(self.number)
        return words[:1].lower() + words[1:]


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, what it was raised from, and so on; also what was being handled, but not under a
    programming error."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        handled = (
            None
            if error.__suppress_context__ or isinstance(error, _PROGRAMMING)
            else error.__context__
        )
        error = error.__cause__ or handled


def _is_of(error: BaseException, package: str, name: str) -> bool:
    """Whether the error is of a class of that name in that package, which need not be imported."""
    return any(
        one.__name__ == name and one.__module__.partition(".")[0] == package
        for one in type(error).__mro__
    )


def _raised_in(error: BaseException, module: str) -> bool:
    """Whether the error was raised by code of that module, as its traceback says."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return frame is not None and frame.tb_frame.f_globals.get("__name__") == module


def gpu_failed(error: BaseException) -> bool:
    """Whether the error itself says that CUDA failed."""
    if _is_of(error, "torch", "AcceleratorError"):
        return True
    return type(error) is RuntimeError and _TORCH_CUDA.fullmatch(str(error)) is not None


def no_memory(error: BaseException) -> bool:
    """Whether the error itself says that a device or the machine had no memory left."""
    if isinstance(error, MemoryError) or _is_of(error, "torch", "OutOfMemoryError"):
        return True
    if _is_of(error, "torch", "AcceleratorError"):
        # cudaErrorMemoryAllocation, which is met outside torch's own allocator.
        return getattr(error, "error_code", None) == 2
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return type(error) is RuntimeError and _TORCH_MEMORY.fullmatch(str(error)) is not None


def is_system_failure(error: BaseException) -> bool:
    """Whether the error itself says that the system refused something, whatever the file it was at
    holds."""
    failure = failure_of(error)
    return no_memory(error) or (failure is not None and failure.number in _SYSTEM)


def failure_of(error: BaseException) -> Failure | None:
    """The errno of the error and the files it names; None where it has no errno."""
    if isinstance(error, OSError) and error.errno is not None:
        names = [error.filename, error.filename2]
        if opened := _ARROW_OPEN.fullmatch(str(error.strerror)):
            names = [opened[1]]
        return Failure(
            error.errno,
            tuple(Path(os.fsdecode(name)) for name in names if isinstance(name, str | bytes)),
        )
    if _is_of(error, "safetensors", "SafetensorError") and (
        found := _SAFETENSORS.fullmatch(str(error))
    ):
        return Failure(int(found[1]), (Path(found[2]).parent,) if found[2] else ())
    return None


def hides_errno(error: BaseException) -> bool:
    """Whether the error is of a library that may have failed to write and does not say why: numpy,
    or torch.save."""
    if type(error) is OSError:
        return error.errno is None
    return type(error) is RuntimeError and _raised_in(error, "torch.serialization")


def came_short(error: BaseException) -> bool:
    """Whether the error says that not all of a file could be written, and not why: numpy's and
    torch's."""
    if type(error) is OSError:
        return error.errno is None and _NUMPY_SHORT_WRITE.fullmatch(str(error)) is not None
    return type(error) is RuntimeError and _TORCH_SHORT_WRITE.fullmatch(str(error)) is not None


def sqlite_code(error: sqlite3.Error) -> int:
    """SQLite's primary result code, such as sqlite3.SQLITE_FULL; 0 where it is not known."""
    code = getattr(error, "sqlite_errorcode", None)
    # The lowest byte; those above it say more of the same.
    return _SQLITE.get(str(error), 0) if code is None else code & 0xFF


def refusal(part: Path) -> int | None:
    """The system's errno when some bytes more are written to a file, or to a new file of a folder;
    None if they are."""
    try:
        if part.is_dir():
            with tempfile.NamedTemporaryFile(dir=part, prefix=UNFINISHED) as stream:
                _write_some(stream)
        else:
            with part.open("ab") as stream:
                _write_some(stream)
    except OSError as error:
        return error.errno
    return None


def _write_some(stream: IO[bytes]) -> None:
    stream.write(bytes(_NO_ROOM))
    stream.flush()
    os.fsync(stream.fileno())


def has_no_room(path: Path) -> bool:
    """Whether the disk of `path` is full now."""
    try:
        return shutil.disk_usage(path).free < _NO_ROOM
    except OSError:
        return False


def allowed(path: Path, mode: int) -> bool:
    """Whether this process may do that with `path`; mode: os.R_OK, W_OK, X_OK, or F_OK for whether
    it is there."""
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)
