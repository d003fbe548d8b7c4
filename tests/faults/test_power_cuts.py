"""The power goes while samples and datasets are made, replaced and deleted.
benchmarks/power_cuts.py cuts 100 times."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from core.workspace import PROJECT, Workspace
from tests.faults.power import Mark, check, state_of
from tests.faults.recorded_disk import mounted, recorded_disk


@pytest.fixture(scope="module")
def can_mount(tmp_path_factory: pytest.TempPathFactory) -> None:
    if os.geteuid():
        pytest.skip("a disk cannot be mounted here: that takes root")
    try:
        with recorded_disk(tmp_path_factory.mktemp("disk") / "disk"):
            pass
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a disk cannot be mounted here: that takes FUSE, loop devices and mkfs.ext4")


def test_listed_things_are_complete_and_none_is_lost(can_mount: None, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.faults.power", str(tmp_path), "10", "1", "1.1", "5"]
    ended = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert told["wrong"] == []
    assert told["cuts"] == 10 and told["redone"] == 1
    assert told["steps"] == [
        "ingest",
        "prepare",
        "prepare again",
        "ingest another",
        "delete a sample",
    ]


def test_a_write_without_a_sync_is_lost_and_with_one_is_not(
    can_mount: None, tmp_path: Path
) -> None:
    """Else the disk would show nothing."""
    with recorded_disk(tmp_path / "disk") as disk:
        (disk.folder / "unsynced").write_bytes(b"x" * 10_000)
        with (disk.folder / "synced").open("wb") as stream:
            stream.write(b"x" * 10_000)
            stream.flush()
            os.fsync(stream.fileno())
        place = disk.written()
    disk.cut_at(place, tmp_path / "cut")
    with mounted(tmp_path / "cut", tmp_path / "after") as folder:
        assert (folder / "synced").read_bytes() == b"x" * 10_000
        lost = folder / "unsynced"
        assert not lost.exists() or lost.read_bytes() != b"x" * 10_000


def test_the_check_finds_what_is_incomplete_lost_or_restored(
    tiny_template: Path, tmp_path: Path
) -> None:
    root = tmp_path / "workspace"
    shutil.copytree(tiny_template, root)
    state = state_of(Workspace(root))
    marks = [Mark("", 0, {}), Mark("ingest", 10, state)]
    assert check(root, marks, 10) == ""
    assert "came back" in check(root, [*marks, Mark("delete", 20, {})], 20)
    hollow = next(root.glob("datasets/*/labels.npy"))
    hollow.write_bytes(hollow.read_bytes()[:-4] + b"abcd")
    assert "dataset tiny is listed and not whole" in check(root, marks, 10)
    shutil.rmtree(root / "samples")
    assert "sample tiny was there and is gone" in check(root, marks, 10)
