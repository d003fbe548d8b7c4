"""Pretend that the machine's files are on a local or a shared filesystem."""

import sqlite3
from pathlib import Path

import pytest

from core.jobs import database, filesystems
from core.workspace import Workspace


def write_mounts(monkeypatch: pytest.MonkeyPatch, folder: Path, text: str) -> None:
    path = folder / "mountinfo"
    path.write_text(text)
    monkeypatch.setattr(filesystems, "MOUNTS", path)


def pretend_shared(monkeypatch: pytest.MonkeyPatch, folder: Path, options: str = "rw") -> None:
    """All of the machine's files are on NFS, so far as the list of mounts says."""
    write_mounts(monkeypatch, folder, f"1 0 0:1 / / rw - nfs4 host:/ {options}\n")
    monkeypatch.setattr(database, "_checked_stores", set())
    monkeypatch.setattr(database, "_shared_stores", set())


def pretend_local(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    write_mounts(monkeypatch, folder, "1 0 0:1 / / rw - ext4 /dev/sda rw\n")
    monkeypatch.setattr(database, "_checked_stores", set())
    monkeypatch.setattr(database, "_shared_stores", set())


def journal_mode(workspace: Workspace) -> str:
    db = sqlite3.connect(workspace.database)
    mode: str = db.execute("PRAGMA journal_mode").fetchone()[0]
    db.close()
    return mode
