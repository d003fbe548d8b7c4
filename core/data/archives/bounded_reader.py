"""A stream of unpacked bytes with limits that stop decompression bombs."""

import lzma
import re
import tarfile
import zipfile
import zlib
from pathlib import PurePosixPath
from typing import BinaryIO, cast

from isal import isal_zlib

from core.data.archives.decoders import MEMORY_LIMIT, DamageError, MemoryLimitError
from core.data.archives.unpacking import ByteSource
from core.errors import BadInput, UnreadableRow

MAX_UNPACKED_BYTES = 200 * 2**30
"""Unpacked bytes read from one file; Criteo's largest day file has about 60 GB."""
MAX_RATIO = 200
"""Ratio of unpacked to packed bytes above which a file counts as a decompression bomb; Criteo rows
compress about 4 to 1."""
RATIO_MIN_BYTES = 64 * 2**20
"""Unpacked bytes below which the ratio is not checked."""

DAMAGE_ERRORS = (
    OSError,
    EOFError,
    DamageError,
    zlib.error,
    cast(type[Exception], isal_zlib.error),
    lzma.LZMAError,
    zipfile.BadZipFile,
    tarfile.TarError,
    RuntimeError,
)
"""What the decoders raise for damaged bytes."""


class BoundedReader:
    """A readable stream that counts what it returns and stops at a decompression bomb.

    Args:
        stream: the unpacked bytes.
        packed: size of the whole file in bytes, against which `unpacked` is checked.
        name: of the file, for messages.
        position: the file itself, to report progress from.
        keep_truncated: where the packed data is truncated, end there and set `truncated` instead of
            raising.
        member: name of the archive member this is, "" if none.
        span: (offset, length) of the packed bytes that `progress` covers; the whole file by
            default.
        unpacked: bytes that count already, of other members of the same archive.
    """

    def __init__(
        self,
        stream: ByteSource,
        packed: int,
        name: str,
        position: BinaryIO,
        *,
        keep_truncated: bool = False,
        member: str = "",
        span: tuple[int, int] | None = None,
        unpacked: int = 0,
    ) -> None:
        self._stream = stream
        self._name = name
        self._position = position
        self._keep_truncated = keep_truncated
        self._span = span or (0, packed)
        self._before = unpacked
        self.packed_bytes = max(packed, 1)
        self.unpacked = unpacked
        self.member = member
        self.truncated = False
        self.closed = False

    @property
    def unpack_note(self) -> str:
        """A sentence about data that was skipped after the packed data; usually empty."""
        return str(getattr(self._stream, "remark", ""))

    @property
    def progress(self) -> float:
        """Share of the packed bytes that has been read, 0 to 1."""
        first, size = self._span
        return min(1.0, max(0, self._position.tell() - first) / max(size, 1))

    def read(self, size: int = -1) -> bytes:
        """Return `size` bytes (all with -1); fewer only at the end.

        Raises:
            BadInput: the packed data is damaged, truncated (unless `keep_truncated`) or too large.
        """
        data = b""
        while not self.truncated and (size < 0 or len(data) < size):
            more = self._read(size - len(data) if size >= 0 else size)
            if not more:
                break
            data = data + more if data else more
        return data

    def _read(self, size: int) -> bytes:
        try:
            return self.read_raising(size)
        except EOFError as error:
            if self._keep_truncated:
                self.truncated = True
                return b""
            where = f"after {self.unpacked - self._before:,} unpacked bytes"
            raise UnreadableRow(describe_truncation(self._name, where)) from error
        except MemoryLimitError as error:
            raise BadInput(
                f"{self._name!r} takes more than {MEMORY_LIMIT >> 20} MB of memory to unpack; pack"
                " it again with an ordinary level and without --long."
            ) from error
        except DAMAGE_ERRORS as error:
            read = self.unpacked - self._before
            raise BadInput(
                f"{self._name!r} is damaged after {read:,} unpacked bytes ({error}); fetch it"
                " again."
            ) from error

    def read_raising(self, size: int = -1) -> bytes:
        """Like `read` for one call of the stream, but let EOFError and DAMAGE_ERRORS through."""
        data = self._stream.read(size)
        self.unpacked += len(data)
        check_unpacked_size(self.unpacked, self.packed_bytes, self._name)
        return data


def describe_truncation(name: str, where: str) -> str:
    """Return the sentence about a truncated file."""
    return (
        f"{name!r} ends {where}: the file is truncated; fetch it again, or choose to skip bad"
        " rows to keep the rows before the break."
    )


def check_unpacked_size(unpacked: int, packed: int, name: str) -> None:
    """Raise BadInput if these sizes look like those of a decompression bomb."""
    if unpacked > MAX_UNPACKED_BYTES or (
        unpacked > RATIO_MIN_BYTES and unpacked > MAX_RATIO * packed
    ):
        raise BadInput(
            f"{name!r} unpacks to more than {unpacked:,} bytes from {packed:,}: that looks like a "
            "decompression bomb, not like Criteo rows, and was refused."
        )


def check_member(name: str, is_file: bool, archive: str) -> None:
    """Raise BadInput if a member's name points outside the archive, or if it is not a file."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or re.match("[A-Za-z]:", str(path)):
        raise BadInput(
            f"{archive!r} holds a member named {name[:80]!r}, which points outside the archive;"
            " refused."
        )
    if not is_file:
        raise BadInput(
            f"{archive!r} holds {name[:80]!r}, which is a link or a device, not a file; refused."
        )


def first_error_line(error: Exception) -> str:
    r"""Return the first line of a library's error message, to be used within a sentence.

    >>> first_error_line(OSError("No more data to read.\n\n")), first_error_line(MemoryError())
    ('No more data to read', 'MemoryError')
    """
    lines = str(error).strip().splitlines()
    return lines[0][:200].rstrip(" .") if lines else type(error).__name__
