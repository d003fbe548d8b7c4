"""Workspaces on file systems that several machines share: how they are recognised, their journal,
and their locks."""

import fcntl
import shutil
import sqlite3
from pathlib import Path

import pytest

from core.errors import BadInput
from core.jobs import database, filesystems
from core.jobs.filesystems import check_file_locks, find_mount, shared_filesystem
from core.jobs.requests import FinetuneRequest
from core.jobs.store import RunStore
from core.workspace import Workspace
from tests.core.jobs.mounts import journal_mode, pretend_local, pretend_shared, write_mounts

REQUEST = FinetuneRequest("d-1", "b-1")
MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
25 22 0:23 / /home rw - btrfs /dev/sdb rw
26 22 0:24 / /mnt/nfs rw,relatime shared:5 master:2 - nfs4 host:/export rw,vers=4.2,local_lock=none
27 22 0:25 / /mnt/old rw,relatime - nfs host:/old rw,vers=3,nolock,local_lock=all
28 22 0:26 / /mnt/win rw - cifs //host/share rw
29 22 0:27 / /mnt/ssh rw - fuse.sshfs me@host: rw
30 22 0:28 / /mnt/stick rw - fuseblk /dev/sdc1 rw
31 22 0:29 / /mnt/with\\040blank\\134slash rw - 9p share rw
32 22 0:30 / /mnt/nfs/inner rw - tmpfs none rw
33 22 0:31 / /mnt/over rw - nfs4 host:/export rw
34 22 0:32 / /mnt/over rw - xfs /dev/sdd rw
35 22 0:33 / /mnt/new rw - somefs none rw
half a line
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/work", ""),
        ("/home/me/workspace", ""),
        ("/mnt/nfs/workspace", "nfs4"),
        ("/mnt/nfs", "nfs4"),
        ("/mnt/nfs2", ""),
        ("/mnt/old/a/b", "nfs"),
        ("/mnt/win/x", "cifs"),
        ("/mnt/ssh/x", "fuse.sshfs"),
        ("/mnt/stick/x", ""),
        ("/mnt/with blank\\slash/x", "9p"),
        ("/mnt/nfs/inner/x", ""),
        ("/mnt/over/x", ""),
        ("/mnt/new/x", "somefs"),
    ],
)
def test_the_kind_of_a_shared_file_system(
    folder: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_mounts(monkeypatch, tmp_path, MOUNTS)
    assert shared_filesystem(Path(folder)) == kind


def test_this_machine_s_own_mounts_are_read(tmp_path: Path) -> None:
    found = find_mount(tmp_path)
    assert found is not None and tmp_path.is_relative_to(found.point) and found.kind


def test_mounts_as_other_systems_list_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    listed = (
        "/dev/disk3s1 on / (apfs, local, journaled)\n//me@nas/data on /Volumes/my data (smbfs,"
        " nodev, mounted by me)\n"
    )
    monkeypatch.setattr(filesystems, "MOUNTS", tmp_path / "none")
    monkeypatch.setattr(
        filesystems.subprocess, "run", lambda *_, **__: type("Done", (), {"stdout": listed})
    )
    assert shared_filesystem(Path("/Volumes/my data/workspace")) == "smbfs"
    assert shared_filesystem(Path("/Users/me")) == ""


def test_locks_are_tried_by_a_process_of_its_own(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert check_file_locks(workspace.root, workspace.database) is False
    RunStore(workspace)
    assert check_file_locks(workspace.root, workspace.database) is True
    assert [*workspace.root.glob(".part-*")] == []
    # A file system that grants every lock, and one that has none.
    for name in ("lockf", "flock"):
        with monkeypatch.context() as patch:
            patch.setattr(fcntl, name, lambda *_: None)
            with pytest.raises(
                BadInput, match=r"File locks do not work .* local disk \(set THAW_HOME\)"
            ):
                check_file_locks(workspace.root, workspace.database)

    def none(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", none)
    with pytest.raises(BadInput, match="File locks do not work"):
        check_file_locks(workspace.root, workspace.database)


@pytest.mark.parametrize(
    "options",
    ["rw,vers=3,nolock", "rw,local_lock=all", "local_lock=flock,rw", "rw,local_lock=posix"],
)
def test_a_mount_that_keeps_locks_to_itself_is_refused(
    options: str, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_shared(monkeypatch, tmp_path, options)
    with pytest.raises(BadInput, match="other machines do not see its file locks"):
        RunStore(workspace)
    assert not workspace.database.exists()


def test_a_shared_store_has_a_rollback_journal(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_shared(monkeypatch, tmp_path)
    store = RunStore(workspace)
    run = store.submit(REQUEST, "a run", "cpu")
    with database.keep_connection(workspace):
        store.add_points(run.id, [(1, "train_loss", 0.5)])
        assert not [*workspace.root.glob("thaw.sqlite-[ws]*")]
    with database.connect(workspace) as db:
        assert db.execute("PRAGMA synchronous").fetchone()[0] == 2
        assert db.execute("PRAGMA journal_mode").fetchone()[0] == "truncate"
    assert journal_mode(workspace) != "wal"
    assert RunStore(workspace).points(run.id)["train_loss"][1].tolist() == [0.5]


def test_a_store_that_moves_onto_a_shared_file_system_is_converted_and_back(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = RunStore(workspace)
    run = store.submit(REQUEST, "a run", "cpu")
    assert journal_mode(workspace) == "wal"
    # As a worker that was killed leaves it: with rows that are in the log alone.
    holder = sqlite3.connect(workspace.database)
    holder.execute("SELECT * FROM runs").fetchall()
    store.add_points(run.id, [(1, "train_loss", 0.5)])
    moved = Workspace(tmp_path / "moved")
    shutil.copytree(workspace.root, moved.root)
    holder.close()
    assert (moved.root / "thaw.sqlite-wal").stat().st_size > 0

    pretend_shared(monkeypatch, tmp_path)
    assert RunStore(moved).points(run.id)["train_loss"][1].tolist() == [0.5]
    assert journal_mode(moved) != "wal" and not (moved.root / "thaw.sqlite-wal").exists()

    # The machine whose disk it is, and which shares it, does not turn it back.
    pretend_local(monkeypatch, tmp_path)
    assert RunStore(moved).get(run.id).name == "a run" and journal_mode(moved) != "wal"

    home = Workspace(tmp_path / "home")
    shutil.copytree(moved.root, home.root)
    assert RunStore(home).points(run.id)["train_loss"][1].tolist() == [0.5]
    assert journal_mode(home) == "wal"


def test_a_store_in_use_elsewhere_is_not_converted(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunStore(workspace).submit(REQUEST, "a run", "cpu")
    holder = sqlite3.connect(workspace.database)
    holder.execute("SELECT * FROM runs").fetchall()
    pretend_shared(monkeypatch, tmp_path)
    with pytest.raises(BadInput, match="another process has it open"):
        RunStore(workspace)
    holder.close()
    assert RunStore(workspace).get(run.id).name == "a run"
