"""Which store the write-ahead log beside it belongs to.

SQLite finds a store's write-ahead log by its name alone. Where another store is put in the place of
one with a log, SQLite would write that log into the other store and damage it. A process that keeps
a log open therefore records the inodes of the log, of its store and of the record itself: where the
whole folder was copied, the record has another inode and says nothing.
"""

import contextlib
import json
import os
from pathlib import Path

from core.workspace import Workspace, WorkspaceMissing


def record_owner(workspace: Workspace) -> None:
    """Record that the current log belongs to the current store.

    It is called by a process that holds the log open.
    """
    with contextlib.suppress(OSError):
        inodes = {
            "store": workspace.database.stat().st_ino,
            "log": _wal_path(workspace).stat().st_ino,
        }
        file = os.open(
            _owner_path(workspace), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600
        )
        with os.fdopen(file, "w", encoding="ascii") as stream:
            json.dump(inodes | {"note": os.fstat(file).st_ino}, stream)


def check_owner(workspace: Workspace) -> None:
    """Check, before the store is opened, that the log beside it is its own.

    Raises:
        WorkspaceMissing: it is the log of another store.
    """
    store, log = workspace.database, _wal_path(workspace)
    recorded = _read_owner(_owner_path(workspace))
    if (
        recorded is None
        or recorded.get("note") != _inode(_owner_path(workspace))
        or recorded.get("store") == _inode(store)
    ):
        return
    if not log.exists() or not log.stat().st_size or not store.exists():
        # The record is out of date, and another log may get the inode of the one that is gone.
        with contextlib.suppress(OSError):
            _owner_path(workspace).unlink(missing_ok=True)
    elif recorded.get("log") == _inode(log):
        raise WorkspaceMissing(
            f"The run store {str(store)!r} was put in the place of another one, whose last writes"
            f" are still in {log.name!r} beside it and would damage it. End every worker and app"
            f" that uses this workspace, move that file and {store.name + '-shm'!r} away as well,"
            " and try again."
        )


def _wal_path(workspace: Workspace) -> Path:
    return workspace.database.with_name(workspace.database.name + "-wal")


def _owner_path(workspace: Workspace) -> Path:
    return workspace.database.with_name(workspace.database.name + "-owner")


def _read_owner(path: Path) -> dict[str, object] | None:
    try:
        values = json.loads(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return values if isinstance(values, dict) else None


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None
