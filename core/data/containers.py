"""Opens a sample's file, plain or packed, as one stream of bytes; told apart by content, never by name."""

import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

import pyarrow as pa
from isal import igzip, isal_zlib

from core.errors import BadInput

MAX_BYTES = 200 * 2**30
"""Unpacked bytes read from one file; Criteo's largest day file has about 60 GB."""
MAX_RATIO = 200
"""Unpacked over packed bytes above which a file is called a decompression bomb; Criteo rows pack about 1:4."""
RATIO_FROM = 64 * 2**20
"""Unpacked bytes from which the ratio is looked at."""

DAMAGE = (
    OSError,
    EOFError,
    zlib.error,
    cast(type[Exception], isal_zlib.error),
    lzma.LZMAError,
    zipfile.BadZipFile,
    tarfile.TarError,
    RuntimeError,
)
"""What the unpackers raise over damaged bytes."""

PARQUET = "parquet"
PLAIN = "plain"


class Guard:
    """A readable stream that counts what it hands out and stops a decompression bomb with a sentence."""

    def __init__(self, stream: Any, packed: int, name: str, position: BinaryIO) -> None:
        self._stream = stream
        self._packed = max(packed, 1)
        self._name = name
        self._position = position
        self._read = 0
        self.closed = False

    @property
    def share(self) -> float:
        """How much of the packed file has been read, 0 to 1."""
        return min(1.0, self._position.tell() / self._packed)

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes; BadInput when the packed data is damaged or unpacks beyond all measure."""
        try:
            data = self._stream.read(size)
        except EOFError as error:
            raise BadInput(
                f"{self._name!r} breaks off after {self._read:,} unpacked bytes: the file is truncated; fetch it again."
            ) from error
        except DAMAGE as error:
            raise BadInput(
                f"{self._name!r} is damaged after {self._read:,} unpacked bytes ({error}); fetch it again."
            ) from error
        self._read += len(data)
        check_size(self._read, self._packed, self._name)
        return data


def check_size(unpacked: int, packed: int, name: str) -> None:
    """BadInput when so many unpacked bytes from so many packed ones are beyond all measure."""
    if unpacked > MAX_BYTES or (unpacked > RATIO_FROM and unpacked > MAX_RATIO * packed):
        raise BadInput(
            f"{name!r} unpacks to more than {unpacked:,} bytes from {packed:,}: that looks like a "
            "decompression bomb, not like Criteo rows, and was refused."
        )


def container_of(path: Path) -> str:
    """plain, gzip, zip, tar.gz, zstd or parquet, by the first bytes; BadInput when there is no such file."""
    try:
        if not path.exists():
            raise BadInput(f"There is no file {str(path)!r} on this machine; check the path.")
        if not path.is_file():
            raise BadInput(f"{str(path)!r} is not a file; name one file of rows.")
        # Some of the system's own files, of no size, never end.
        size = path.stat().st_size
        with path.open("rb") as stream:
            start = stream.read(4) if size else b""
    except OSError as error:
        raise BadInput(f"{path.name[:80]!r} cannot be read ({error.strerror}); check the path.") from error
    if not start:
        raise BadInput(f"{path.name!r} is empty; it needs rows of 39 or 40 columns.")
    if start == b"PAR1":
        return PARQUET
    if start.startswith(b"PK\x03\x04") or start.startswith(b"PK\x05\x06"):
        return "zip"
    if start == b"\x28\xb5\x2f\xfd":
        return "zstd"
    if start.startswith(b"\x1f\x8b"):
        return "tar.gz" if _is_tar(path) else "gzip"
    return PLAIN


@contextmanager
def open_rows(path: Path) -> Iterator[Guard]:
    """The unpacked bytes of a file that is not Parquet."""
    kind = container_of(path)
    packed = path.stat().st_size
    with ExitStack() as stack:
        raw = stack.enter_context(path.open("rb"))
        stream: Any
        try:
            if kind == "gzip":
                stream = stack.enter_context(igzip.IGzipFile(fileobj=raw))
            elif kind == "zstd":
                stream = stack.enter_context(pa.CompressedInputStream(pa.PythonFile(raw, "r"), "zstd"))
            elif kind == "zip":
                archive = stack.enter_context(zipfile.ZipFile(raw))
                stream = stack.enter_context(archive.open(_one_zip_member(archive, path.name)))
            elif kind == "tar.gz":
                member = _one_tar_member(path)
                unpacked = stack.enter_context(igzip.IGzipFile(fileobj=raw))
                tar = stack.enter_context(tarfile.open(fileobj=unpacked, mode="r:"))
                stream = tar.extractfile(member)
            else:
                stream = raw
        except DAMAGE as error:
            raise BadInput(f"{path.name!r} cannot be unpacked ({error}); the file is damaged or truncated.") from error
        yield Guard(stream, packed, path.name, raw)


def _is_tar(path: Path) -> bool:
    try:
        with igzip.open(path) as stream:
            return stream.read(263)[257:262] == b"ustar"
    except DAMAGE:
        return False


def check_member(name: str, is_file: bool, archive: str) -> None:
    """BadInput when a member of `archive` points outside it or is no file."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in (path.parts[0] if path.parts else ""):
        raise BadInput(f"{archive!r} holds a member named {name[:80]!r}, which points outside the archive; refused.")
    if not is_file:
        raise BadInput(f"{archive!r} holds {name[:80]!r}, which is a link or a device, not a file; refused.")


def _one_zip_member(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    members = [member for member in archive.infolist() if not member.is_dir()]
    for member in members:
        check_member(member.filename, (member.external_attr >> 28) in (0, 8), name)
        if member.flag_bits & 1:
            raise BadInput(f"{name!r} is encrypted; unpack it with its password first.")
    if len(members) != 1:
        raise BadInput(f"{name!r} holds {len(members)} files; an archive must hold exactly one file of rows.")
    return members[0]


def _one_tar_member(path: Path) -> str:
    """The name of the only file; read through a guard, since even listing a tar unpacks it."""
    names = []
    with path.open("rb") as raw, igzip.IGzipFile(fileobj=raw) as unpacked:
        guard = Guard(unpacked, path.stat().st_size, path.name, raw)
        with tarfile.open(fileobj=cast(BinaryIO, guard), mode="r|") as archive:
            for member in archive:
                if not member.isdir():
                    check_member(member.name, member.isreg(), path.name)
                    names.append(member.name)
    if len(names) != 1:
        raise BadInput(f"{path.name!r} holds {len(names)} files; an archive must hold exactly one file of rows.")
    return names[0]
