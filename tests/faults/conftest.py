"""A small disk of its own, to be filled up or to lose the right to be written."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pages.conftest import counted_here as counted_here

SMALL_MEGABYTES = 24


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 24 MB; only root may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_MEGABYTES}m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a small disk cannot be mounted here: that takes root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def leave_free(folder: Path, size: int) -> Path:
    """Fills the disk up to `size` bytes; the file to delete when there is to be room again."""
    ballast = folder / "ballast"
    ballast.write_bytes(b"\0" * max(0, shutil.disk_usage(folder).free - size))
    return ballast


def read_only_from_now(folder: Path) -> None:
    """Takes the right to write from the whole disk; from root too, whom no file's rights would stop."""
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
