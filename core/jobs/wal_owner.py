"""Which store the write-ahead log beside it belongs to.

SQLite finds a store's log by its name alone, so the log of a store that another one was put in the
place of would be played into that other one, and damage it. A process that keeps a log open for
long notes in a file of its own that log, its store and that file itself, each by inode: where
folder and all was copied, the note speaks of other files.
"""

import contextlib
import json
import os
from pathlib import Path

from core.workspace import Workspace, WorkspaceMissing


def record_owner(workspace: Workspace) -> None:
    """Notes that the log which is there now belongs to the store that is; for one who holds that
    log open."""
    with contextlib.suppress(OSError):
        found = {
            "store": workspace.database.stat().st_ino,
            "log": _wal_path(workspace).stat().st_ino,
        }
        file = os.open(
            _owner_path(workspace), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600
        )
        with os.fdopen(file, "w", encoding="ascii") as stream:
            json.dump(found | {"note": os.fstat(file).st_ino}, stream)


def check_owner(workspace: Workspace) -> None:
    """WorkspaceMissing where the log there is another store's; before the store is opened."""
    store, log = workspace.database, _wal_path(workspace)
    noted = _read_owner(_owner_path(workspace))
    if (
        noted is None
        or noted.get("note") != _inode(_owner_path(workspace))
        or noted.get("store") == _inode(store)
    ):
        return
    if not log.exists() or not log.stat().st_size or not store.exists():
        # Another log may get the inode of the one that is gone.
        with contextlib.suppress(OSError):
            _owner_path(workspace).unlink(missing_ok=True)
    elif noted.get("log") == _inode(log):
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
        noted = json.loads(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return noted if isinstance(noted, dict) else None


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None
