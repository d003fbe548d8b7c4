"""A folder that two machines share, as the kernel sees it: one server, two mounts, by the protocol
of FUSE.

As with NFS, each mount has inodes and pages of its own, locks of both kinds are kept by the server,
and memory that is mapped is not shared between them. Started as `python -m
tests.faults.shared_folder FOLDER MOUNT MOUNT`; says "ready", and ends when its standard input does.
"""

import ctypes
import errno
import fcntl
import os
import select
import stat
import struct
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = 1
_HEADER = struct.Struct("<IIQQIIIHH")
_ATTRIBUTES = struct.Struct("<6Q10I")
_LOCK = struct.Struct("<QQQQIIII")
_DIRECT_IO = 1
_POSIX_LOCKS, _FLOCKS, _BIG_WRITES = 1 << 1, 1 << 10, 1 << 5
_UNLOCKED = 2
_SILENT = (2, 36, 42)
"""FORGET, INTERRUPT and BATCH_FORGET take no answer."""
_libc = ctypes.CDLL(None, use_errno=True)

Lock = tuple[tuple[int, int], int, int, int]
"""(whose: mount and owner; first byte, last byte, kind)"""


class Server:
    """The folder, what is open in it, and the locks on its files, by inode and whether they are
    flock's."""

    def __init__(self, folder: Path) -> None:
        self.paths = {ROOT: folder}
        self.files: dict[int, int] = {}
        self.lists: dict[int, list[bytes]] = {}
        self.locks: dict[tuple[int, bool], list[Lock]] = {}
        self.calls: dict[int, Callable[[int, int, bytes], bytes]] = {
            **{
                1: self.lookup,
                3: self.getattr,
                4: self.setattr,
                9: self.mkdir,
                10: self.unlink,
                11: self.rmdir,
            },
            **{
                12: self.rename,
                14: self.open,
                15: self.read,
                16: self.write,
                17: self.statfs,
                18: self.release,
            },
            **{
                20: self.fsync,
                25: self.flush,
                26: self.init,
                27: self.opendir,
                28: self.readdir,
                29: self.closedir,
            },
            **{
                30: self.nothing,
                31: self.getlk,
                32: self.setlk,
                33: self.setlk,
                35: self.create,
                45: self.rename2,
            },
            38: self.nothing,
        }

    def answer(self, mount: int, request: bytes) -> bytes | None:
        """The answer to one request of the kernel."""
        _, call, unique, node, *_ = _HEADER.unpack_from(request)
        if call in _SILENT:
            return None
        number, body = 0, b""
        try:
            body = self.calls[call](mount, node, request[_HEADER.size :])
        except KeyError:
            number = errno.ENOSYS
        except OSError as error:
            number = error.errno or errno.EIO
        return struct.pack("<IiQ", 16 + len(body), -number, unique) + body

    def nothing(self, mount: int, node: int, body: bytes) -> bytes:
        return b""

    def init(self, mount: int, node: int, body: bytes) -> bytes:
        major, _, ahead = struct.unpack_from("<III", body)
        flags = _POSIX_LOCKS | _FLOCKS | _BIG_WRITES
        return struct.pack("<IIIIHHIIHHI28x", major, 31, ahead, flags, 12, 9, 2**17, 1, 32, 0, 0)

    def attributes(self, found: os.stat_result, node: int) -> bytes:
        seconds = [
            divmod(moment, 10**9)
            for moment in (found.st_atime_ns, found.st_mtime_ns, found.st_ctime_ns)
        ]
        whole, rest = zip(*seconds, strict=True)
        return _ATTRIBUTES.pack(
            *(node, found.st_size, found.st_blocks, *whole, *rest, found.st_mode, found.st_nlink),
            *(found.st_uid, found.st_gid, found.st_rdev, 4096, 0),
        )

    def entry(self, path: Path) -> bytes:
        found = path.lstat()
        self.paths[found.st_ino] = path
        # Nothing is kept by the kernel: it asks anew each time.
        return struct.pack("<QQQQII", found.st_ino, 0, 0, 0, 0, 0) + self.attributes(
            found, found.st_ino
        )

    def named(self, node: int, body: bytes, skip: int = 0) -> Path:
        return self.paths[node] / os.fsdecode(body[skip:].split(b"\0")[0])

    def lookup(self, mount: int, node: int, body: bytes) -> bytes:
        return self.entry(self.named(node, body))

    def getattr(self, mount: int, node: int, body: bytes) -> bytes:
        by_file, _, file = struct.unpack_from("<IIQ", body)
        found = os.fstat(self.files[file]) if by_file & 1 else self.paths[node].lstat()
        return struct.pack("<QII", 0, 0, 0) + self.attributes(found, node)

    def setattr(self, mount: int, node: int, body: bytes) -> bytes:
        valid, _, file, size = struct.unpack_from("<IIQQ", body)
        mode = struct.unpack_from("<I", body, 68)[0]
        target: int | Path = self.files[file] if valid & 64 else self.paths[node]
        if valid & 1:
            os.chmod(target, stat.S_IMODE(mode))  # noqa: PTH101
        if valid & 8:
            os.truncate(target, size)
        return self.getattr(mount, node, struct.pack("<IIQ", 1 if valid & 64 else 0, 0, file))

    def mkdir(self, mount: int, node: int, body: bytes) -> bytes:
        path = self.named(node, body, 8)
        path.mkdir(struct.unpack_from("<I", body)[0] & 0o777)
        return self.entry(path)

    def unlink(self, mount: int, node: int, body: bytes) -> bytes:
        self.named(node, body).unlink()
        return b""

    def rmdir(self, mount: int, node: int, body: bytes) -> bytes:
        self.named(node, body).rmdir()
        return b""

    def rename(self, mount: int, node: int, body: bytes, skip: int = 8) -> bytes:
        old, new = (os.fsdecode(name) for name in body[skip:].split(b"\0")[:2])
        source, target = self.paths[node] / old, self.paths[struct.unpack_from("<Q", body)[0]] / new
        source.rename(target)
        for known, path in self.paths.items():
            if path.is_relative_to(source):
                self.paths[known] = target / path.relative_to(source)
        return b""

    def rename2(self, mount: int, node: int, body: bytes) -> bytes:
        if struct.unpack_from("<QI", body)[1]:
            raise OSError(errno.EINVAL, "no exchange")
        return self.rename(mount, node, body, 16)

    def opened(self, file: int) -> bytes:
        self.files[file] = file
        return struct.pack("<QII", file, _DIRECT_IO, 0)

    def open(self, mount: int, node: int, body: bytes) -> bytes:
        flags = struct.unpack_from("<I", body)[0] & ~(
            os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_DIRECT
        )
        return self.opened(os.open(self.paths[node], flags))

    def create(self, mount: int, node: int, body: bytes) -> bytes:
        flags, mode = struct.unpack_from("<II", body)
        path = self.named(node, body, 16)
        file = os.open(path, (flags & ~os.O_DIRECT) | os.O_CREAT, mode & 0o777)
        return self.entry(path) + self.opened(file)

    def read(self, mount: int, node: int, body: bytes) -> bytes:
        file, offset, size = struct.unpack_from("<QQI", body)
        return os.pread(self.files[file], size, offset)

    def write(self, mount: int, node: int, body: bytes) -> bytes:
        file, offset, size = struct.unpack_from("<QQI", body)
        return struct.pack("<II", os.pwrite(self.files[file], body[40 : 40 + size], offset), 0)

    def fsync(self, mount: int, node: int, body: bytes) -> bytes:
        return b""

    def statfs(self, mount: int, node: int, body: bytes) -> bytes:
        found = os.statvfs(self.paths[ROOT])
        sizes = (found.f_blocks, found.f_bfree, found.f_bavail, found.f_files, found.f_ffree)
        return struct.pack("<5Q4I24x", *sizes, found.f_bsize, 255, found.f_frsize, 0)

    def opendir(self, mount: int, node: int, body: bytes) -> bytes:
        answer = self.opened(os.open(self.paths[node], os.O_RDONLY))
        entries = []
        for place, entry in enumerate(os.scandir(self.paths[node]), 1):
            name = os.fsencode(entry.name)
            kind = stat.S_IFMT(entry.stat(follow_symlinks=False).st_mode) >> 12
            head = struct.pack("<QQII", entry.inode(), place, len(name), kind)
            entries.append((head + name).ljust(-(-(24 + len(name)) // 8) * 8, b"\0"))
        self.lists[struct.unpack_from("<Q", answer)[0]] = entries
        return answer

    def readdir(self, mount: int, node: int, body: bytes) -> bytes:
        file, offset, size = struct.unpack_from("<QQI", body)
        found = b""
        for entry in self.lists[file][offset:]:
            if len(found) + len(entry) > size:
                break
            found += entry
        return found

    def closedir(self, mount: int, node: int, body: bytes) -> bytes:
        file = struct.unpack_from("<Q", body)[0]
        del self.lists[file]
        os.close(self.files.pop(file))
        return b""

    def flush(self, mount: int, node: int, body: bytes) -> bytes:
        """Whoever closes a file loses its record locks on it."""
        self.unlock(node, False, (mount, struct.unpack_from("<QIIQ", body)[3]))
        return b""

    def release(self, mount: int, node: int, body: bytes) -> bytes:
        file, _, how, owner = struct.unpack_from("<QIIQ", body)
        if how & 2:
            self.unlock(node, True, (mount, owner))
        os.close(self.files.pop(file))
        return b""

    def unlock(self, node: int, whole: bool, owner: tuple[int, int]) -> None:
        self.locks[node, whole] = [
            lock for lock in self.locks.get((node, whole), []) if lock[0] != owner
        ]

    def in_the_way(self, node: int, mount: int, body: bytes) -> tuple[Lock, Lock | None, bool]:
        """(the requested lock, another's lock that forbids it, whether it is flock's)."""
        _, owner, first, last, kind, _, flags, _ = _LOCK.unpack_from(body)
        asked = ((mount, owner), first, last, kind)
        for lock in self.locks.get((node, bool(flags & 1)), []):
            apart = lock[0] == asked[0] or lock[1] > last or lock[2] < first
            if not apart and fcntl.F_WRLCK in (kind, lock[3]):
                return asked, lock, bool(flags & 1)
        return asked, None, bool(flags & 1)

    def getlk(self, mount: int, node: int, body: bytes) -> bytes:
        asked, found, _ = self.in_the_way(node, mount, body)
        _, first, last, kind = found or (*asked[:3], _UNLOCKED)
        return struct.pack("<QQII", first, last, kind, 1)

    def setlk(self, mount: int, node: int, body: bytes) -> bytes:
        asked, found, whole = self.in_the_way(node, mount, body)
        owner, first, last, kind = asked
        if kind != _UNLOCKED and found:
            raise OSError(errno.EAGAIN, "locked")
        kept: list[Lock] = []
        for lock in self.locks.get((node, whole), []):
            if lock[0] != owner or lock[1] > last or lock[2] < first:
                kept.append(lock)
                continue
            # What lies on either side of the new one stays.
            if lock[1] < first:
                kept.append((owner, lock[1], first - 1, lock[3]))
            if lock[2] > last:
                kept.append((owner, last + 1, lock[2], lock[3]))
        self.locks[node, whole] = kept if kind == _UNLOCKED else [*kept, asked]
        return b""


def mount(target: Path) -> int:
    """Mounts a file system whose requests come from the file descriptor that is returned."""
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
    if _libc.mount(b"shared", os.fsencode(target), b"fuse.shared", 6, options):
        raise OSError(ctypes.get_errno(), "the folder cannot be mounted", str(target))
    return device


def main() -> None:
    folder, *targets = map(Path, sys.argv[1:])
    server = Server(folder)
    devices = [mount(target) for target in targets]
    print("ready", flush=True)
    try:
        while True:
            ready, _, _ = select.select([*devices, sys.stdin.fileno()], [], [])
            if sys.stdin.fileno() in ready:
                return
            for device in ready:
                answer = server.answer(devices.index(device), os.read(device, 2**18))
                if answer is not None:
                    os.write(device, answer)
    finally:
        for target in targets:
            # Lazily: somebody may still be in there.
            _libc.umount2(os.fsencode(target), 2)


if __name__ == "__main__":
    main()
