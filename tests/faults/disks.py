"""Small and read-only disks; mounting one takes root."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

SMALL_MEGABYTES = 24


@contextlib.contextmanager
def mount_small_disk(folder: Path) -> Iterator[Path]:
    """Mount an empty disk of 24 MB at `folder`, which is made; the test is skipped if it may not
    mount one."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_MEGABYTES}m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a small disk cannot be mounted here: that takes root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill_disk(folder: Path, size: int) -> Path:
    """Fill the disk until `size` bytes are free; deleting the returned file makes room again."""
    ballast = folder / "ballast"
    ballast.write_bytes(b"\0" * max(0, shutil.disk_usage(folder).free - size))
    return ballast


def remount_read_only(folder: Path) -> None:
    """Remount the disk read-only, which stops root too; file permissions would not."""
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
