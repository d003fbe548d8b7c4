"""A disk that records every write and every flush, so that its power can be cut at each of them
afterwards.

The disk is one file of a file system of ours, served here by the kernel's FUSE protocol, with ext4
on it by a loop device: the kernel's own caches, journal and order of writes are at work, and what
this process is asked to write is what a disk would have been asked to write. `python -m
tests.faults.recorded_disk FILE IMAGE LOG` serves it. Protocol:
https://github.com/torvalds/linux/blob/master/include/uapi/linux/fuse.h. Only root may mount.
"""

import contextlib
import ctypes
import os
import random
import shutil
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MEGABYTES = 96
HARSH = "noauto_da_alloc,commit=1,data=writeback"
"""Names are committed every second, whether or not what they name has reached the disk, and no
rename waits for it."""
_GETATTR, _SETATTR, _FORGET, _OPEN, _READ, _WRITE, _STATFS = 3, 4, 2, 14, 15, 16, 17
_RELEASE, _FSYNC, _FLUSH, _INIT, _INTERRUPT, _DESTROY, _BATCH_FORGET = 18, 20, 25, 26, 36, 38, 42
_HEADER, _ANSWER = struct.Struct("<IIQQIIIHH"), struct.Struct("<IiQ")
_ATTRIBUTES = struct.Struct("<QQQQQQIIIIIIIIII")
_TRANSFER = struct.Struct("<QQIIQII")
_ENTRY = struct.Struct("<QI")
"""Of the log: where, and how many bytes follow; a flush is of no bytes."""
_MAX_WRITE = 2**17
_ENOSYS = 38


def serve(file: Path, image: Path, log: Path) -> None:
    """Mounts at `file` what `image` holds and writes to `log` all that is written to it; until it
    is unmounted."""
    requests = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={requests},rootmode=100600,user_id=0,group_id=0,allow_other"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"recorded", os.fsencode(file), b"fuse", 0, options.encode()) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(file))
    print("mounted", flush=True)
    disk, record = os.open(image, os.O_RDWR), os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    while True:
        try:
            request = os.read(requests, _MAX_WRITE + 4096)
        except OSError:
            # Unmounted.
            return
        _, opcode, unique, *_ = _HEADER.unpack_from(request)
        if opcode in (_FORGET, _BATCH_FORGET, _INTERRUPT):
            continue
        error, body = _answer(opcode, memoryview(request)[_HEADER.size :], disk, record)
        with contextlib.suppress(OSError):
            os.write(requests, _ANSWER.pack(_ANSWER.size + len(body), -error, unique) + body)
        if opcode == _DESTROY:
            return


def _answer(opcode: int, request: memoryview, disk: int, record: int) -> tuple[int, bytes]:
    """(errno, body)"""
    if opcode == _INIT:
        body = struct.pack("<IIIIHHIIHHI28x", 7, 31, 2**17, 1 << 5, 12, 9, _MAX_WRITE, 1, 32, 0, 0)
        return 0, body
    if opcode in (_GETATTR, _SETATTR):
        size = os.fstat(disk).st_size
        mode = stat.S_IFREG | 0o600
        return 0, struct.pack("<QII", 3600, 0, 0) + _ATTRIBUTES.pack(
            1, size, size // 512, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0
        )
    if opcode == _OPEN:
        return 0, struct.pack("<QIi", 0, 0, 0)
    if opcode == _READ:
        _, offset, size, *_ = _TRANSFER.unpack_from(request)
        return 0, os.pread(disk, size, offset)
    if opcode == _WRITE:
        _, offset, size, *_ = _TRANSFER.unpack_from(request)
        data = request[_TRANSFER.size : _TRANSFER.size + size]
        os.pwrite(disk, data, offset)
        os.write(record, _ENTRY.pack(offset, size) + bytes(data))
        return 0, struct.pack("<II", size, 0)
    if opcode == _FSYNC:
        os.write(record, _ENTRY.pack(0, 0))
        return 0, b""
    if opcode == _STATFS:
        return 0, struct.pack("<QQQQQIIII24x", 0, 0, 0, 0, 0, 4096, 255, 4096, 0)
    return (0, b"") if opcode in (_FLUSH, _RELEASE, _DESTROY) else (_ENOSYS, b"")


@dataclass(frozen=True)
class RecordedDisk:
    """folder: where it is mounted. before: the image it began as. log: all that was written
    since."""

    folder: Path
    before: Path
    log: Path

    def written(self) -> int:
        """How much has been recorded by now; a place to cut at."""
        return self.log.stat().st_size

    def places(self) -> list[int]:
        """Every place to cut at: behind each write and each flush."""
        found, place, size = [], 0, self.written()
        with self.log.open("rb") as log:
            while place < size:
                log.seek(place)
                place += _ENTRY.size + _ENTRY.unpack(log.read(_ENTRY.size))[1]
                found.append(place)
        return found

    def cut_at(self, place: int, image: Path, dice: random.Random | None = None) -> None:
        """Writes to `image` what the disk holds when the power goes at that place.

        dice: of what was written since the last flush, which a disk may still have had in its own
        cache, each write is there or not; without dice all of it is.
        """
        shutil.copyfile(self.before, image)
        with self.log.open("rb") as log, image.open("r+b") as disk:
            since: list[tuple[int, bytes]] = []
            while log.tell() < place:
                offset, size = _ENTRY.unpack(log.read(_ENTRY.size))
                if size:
                    since.append((offset, log.read(size)))
                else:
                    _put(disk.fileno(), since)
                    since = []
            _put(disk.fileno(), [one for one in since if dice is None or dice.random() < 0.5])


def _put(disk: int, writes: list[tuple[int, bytes]]) -> None:
    for offset, data in writes:
        os.pwrite(disk, data, offset)


@contextmanager
def recorded_disk(around: Path, options: str = HARSH) -> Iterator[RecordedDisk]:
    """A new recorded disk, mounted; `around` holds its files. OSError or CalledProcessError where
    none can be had."""
    around.mkdir(exist_ok=True)
    before, image, log, file, folder = (
        around / name for name in ("before", "image", "log", "disk", "mounted")
    )
    with before.open("wb") as stream:
        stream.truncate(MEGABYTES * 2**20)
    quiet = {"check": True, "capture_output": True}
    subprocess.run(
        ["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", before], **quiet
    )  # type: ignore[call-overload]
    shutil.copyfile(before, image)
    file.touch()
    log.touch()
    folder.mkdir()
    command = [sys.executable, "-m", "tests.faults.recorded_disk", str(file), str(image), str(log)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    if server.stdout.readline() != "mounted\n":
        raise OSError("FUSE cannot be had here")
    try:
        with mounted(file, folder, options):
            yield RecordedDisk(folder, before, log)
    finally:
        subprocess.run(["umount", "-l", str(file)], check=True)
        server.wait()


@contextmanager
def mounted(image: Path, folder: Path, options: str = HARSH) -> Iterator[Path]:
    """The ext4 file system in a file, mounted at `folder`; its journal is replayed, as after any
    cut."""
    folder.mkdir(exist_ok=True)
    subprocess.run(
        ["mount", "-o", f"loop,{options}", str(image), str(folder)], check=True, capture_output=True
    )
    try:
        yield folder
    finally:
        # Whoever was killed in there may take a moment to be gone.
        while subprocess.run(["umount", str(folder)], check=False, capture_output=True).returncode:
            time.sleep(0.05)


if __name__ == "__main__":
    serve(*map(Path, sys.argv[1:4]))
