"""Which file system the workspace is on, and whether file locks work there.

SQLite's write-ahead log keeps its index in memory that processes share by mmap, which processes on
two machines cannot do. On a network file system the store therefore has a rollback journal
(https://sqlite.org/wal.html), which needs working locks.
"""

import fcntl
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from core.errors import BadInput
from core.files.leftovers import part_folder

MOUNTS = Path("/proc/self/mountinfo")
LOCAL_FILESYSTEMS = frozenset((
    "apfs", "aufs", "bcachefs", "btrfs", "ecryptfs", "erofs", "exfat", "ext2", "ext3", "ext4",
    "f2fs", "fuseblk", "hfs", "hfsplus", "iso9660", "jfs", "msdos", "nilfs2", "ntfs", "ntfs3",
    "overlay", "ramfs", "reiserfs", "rootfs", "squashfs", "tmpfs", "udf", "ufs", "vfat", "xfs",
    "zfs",
))  # fmt: skip
"""File systems of one machine. Any other kind (nfs, cifs, 9p, lustre, fuse.sshfs, …) counts as
shared: a rollback journal works on all of them and is only slower."""
_LOCAL_LOCK_OPTIONS = re.compile(r"(?:^|,)(?:nolock|local_lock=(?:all|flock|posix))(?:,|$)")
"""Mount options of NFS that keep locks on this machine, so that no other machine sees them."""

# Runs in a child process. It tries to take the two locks that its parent holds. It also reads the
# store's journal mode: closing the file in the parent would release the parent's locks on it.
_CHILD_SCRIPT = """
import errno, fcntl, sys
def refused(take, path):
    with open(path, "r+b") as file:
        try:
            take(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return error.errno in (errno.EACCES, errno.EAGAIN)
    return False
try:
    with open(sys.argv[3], "rb") as file:
        wal = file.read(20)[18:19] == b"\\x02"
except FileNotFoundError:
    wal = False
print(int(refused(fcntl.lockf, sys.argv[1])), int(refused(fcntl.flock, sys.argv[2])), int(wal))
"""


@dataclass(frozen=True)
class Mount:
    """A mounted file system: where it begins, its kind such as "ext4", and its options."""

    point: Path
    kind: str
    options: str


def find_mount(folder: Path) -> Mount | None:
    """Return the mount that `folder` is on; None where the system does not say."""
    mounts = _linux_mounts() if MOUNTS.exists() else _other_mounts()
    inside = [mount for mount in mounts if folder.is_relative_to(mount.point)]
    # Of several mounts at one point only the last is visible.
    return max(reversed(inside), key=lambda mount: len(mount.point.parts), default=None)


def shared_filesystem(folder: Path) -> str:
    """Return the kind of the folder's file system where other machines may use it too, else ""."""
    mount = find_mount(folder)
    return "" if mount is None or mount.kind in LOCAL_FILESYSTEMS else mount.kind


def check_file_locks(folder: Path, database: Path) -> bool:
    """Check that another process sees the file locks that this one holds.

    What two processes of one machine see of each other, processes on two machines see too, unless
    the mount keeps locks local.

    Args:
        folder: the workspace's, on a network file system.
        database: the store in it.

    Returns:
        Whether the store is in WAL mode.

    Raises:
        BadInput: locks do not work there.
    """
    mount = find_mount(folder)
    kind = mount.kind if mount else "unknown"
    if mount and _LOCAL_LOCK_OPTIONS.search(mount.options):
        raise BadInput(
            f"The workspace folder {str(folder)!r} is on a network file system ({kind}) that is"
            f" mounted with {mount.options!r}, so that other machines do not see its file locks."
            " Mount it without nolock and local_lock, or keep the workspace on a local disk (set"
            " THAW_HOME)."
        )
    answers = _probe_from_child(folder, database)
    if answers[:2] != ("1", "1"):
        raise BadInput(
            f"File locks do not work in the workspace folder {str(folder)!r}, which is on a network"
            f" file system ({kind}): two processes could write the run store at once. Keep the"
            " workspace on a local disk (set THAW_HOME), or mount that folder with locks."
        )
    return answers[2] == "1"


def _probe_from_child(folder: Path, database: Path) -> tuple[str, ...]:
    """Return the results of a child process that tests locks and the store's journal mode.

    Three values, "1" or "0": whether fcntl's lock was refused, whether flock's lock was refused,
    and whether the store is in WAL mode.
    """
    with (
        part_folder(folder) as part,
        tempfile.NamedTemporaryFile(dir=part) as range_locked,
        tempfile.NamedTemporaryFile(dir=part) as file_locked,
    ):
        try:
            fcntl.lockf(range_locked, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(file_locked, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return ("0", "0", "0")
        command = [
            sys.executable,
            "-I",
            "-S",
            "-c",
            _CHILD_SCRIPT,
            range_locked.name,
            file_locked.name,
            str(database),
        ]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    # A child that failed has not shown that locks work.
    return tuple(result.stdout.split()) if result.returncode == 0 else ("0", "0", "0")


def _linux_mounts() -> list[Mount]:
    mounts = []
    for line in MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        mounted, _, source = line.partition(" - ")
        fields, kinds = mounted.split(" "), source.split(" ")
        if len(fields) > 5 and len(kinds) > 2:
            mounts.append(Mount(Path(_unescape(fields[4])), kinds[0], f"{fields[5]},{kinds[2]}"))
    return mounts


def _other_mounts() -> list[Mount]:
    """Return the mounts of macOS and the BSDs.

    They are read from lines such as ``//host/share on /Volumes/share (smbfs, nodev)``. A local file
    system has "local" among its options there.
    """
    listed = subprocess.run(["/sbin/mount"], capture_output=True, text=True, check=False).stdout
    mounts = []
    for line in listed.splitlines():
        if found := re.fullmatch(r".+? on (/.*) \(([^,)]+),? ?([^)]*)\)", line):
            options = found[3].split(", ")
            kind = "apfs" if "local" in options else found[2]
            mounts.append(Mount(Path(found[1]), kind, ",".join(options)))
    return mounts


def _unescape(text: str) -> str:
    """Replace the octal escapes by which the kernel writes blanks, tabs and backslashes."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
