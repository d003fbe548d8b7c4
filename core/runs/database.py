"""The workspace's SQLite file, in WAL mode: its schema, how it moves forward, and how it is opened."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from core.error_kinds import sqlite_code
from core.errors import BadInput, Damaged
from core.stored import check_regular, damaged
from core.workspace import Workspace

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT)

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE runs (
        id TEXT PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL, status TEXT NOT NULL,
        message TEXT NOT NULL DEFAULT '', request TEXT NOT NULL, lane TEXT NOT NULL, dataset TEXT NOT NULL,
        grouping TEXT NOT NULL DEFAULT '', created TEXT NOT NULL, started TEXT, finished TEXT,
        phase TEXT NOT NULL DEFAULT '', epoch INTEGER NOT NULL DEFAULT 0, epochs INTEGER NOT NULL DEFAULT 0,
        step INTEGER NOT NULL DEFAULT 0, steps INTEGER NOT NULL DEFAULT 0, tags TEXT NOT NULL DEFAULT '[]',
        note TEXT NOT NULL DEFAULT '', result TEXT, worker_pid INTEGER, cancel_asked TEXT
    );
    CREATE INDEX runs_by_status ON runs (status, lane, created);
    CREATE TABLE points (
        run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE, step INTEGER NOT NULL, name TEXT NOT NULL,
        value REAL NOT NULL, PRIMARY KEY (run, step, name)
    ) WITHOUT ROWID;
    """,
    """
    CREATE TABLE sweeps (id TEXT PRIMARY KEY, name TEXT NOT NULL, spec TEXT NOT NULL, created TEXT NOT NULL);
    CREATE INDEX runs_by_group ON runs (grouping)
    """,
    """
    CREATE INDEX validation_points ON points (run, name, value) WHERE name IN ('validation_loss', 'validation_auc')
    """,
)
"""Scripts that take the schema from one version to the next; PRAGMA user_version counts those applied."""


def migrate(workspace: Workspace) -> None:
    """Brings the file to the newest schema, or makes it; BadInput where its schema is of a newer Thaw.

    `Damaged` where what lies there is no store; nothing is made over it.
    """
    _check_file(workspace)
    with opened(workspace) as db:
        version = db.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        raise BadInput(
            f"The run store {str(workspace.database)!r} has schema version {version}, newer than the "
            f"{len(MIGRATIONS)} this Thaw knows; open it with the newer Thaw."
        )
    if version == len(MIGRATIONS):
        return
    with opened(workspace) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("BEGIN IMMEDIATE")
        version = db.execute("PRAGMA user_version").fetchone()[0]
        for script in MIGRATIONS[version:]:
            for statement in script.split(";"):
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


@contextmanager
def opened(workspace: Workspace) -> Iterator[sqlite3.Connection]:
    """A connection for one transaction, which is undone when the block raises."""
    db = sqlite3.connect(workspace.database, timeout=30, isolation_level="IMMEDIATE")
    try:
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("PRAGMA synchronous = NORMAL")
        with db:
            yield db
    except sqlite3.DatabaseError as error:
        # A table that is missing is told apart from other mistakes of SQL by its message alone.
        if sqlite_code(error) in _DAMAGED or str(error).startswith(("no such table", "no such column")):
            raise _damaged(workspace, error) from error
        if str(error).endswith("already exists"):
            raise _damaged(workspace, "its tables and its schema version differ") from error
        raise
    finally:
        db.close()


def _check_file(workspace: Workspace) -> None:
    """`Damaged` where a folder, a link to nothing or an emptied file lies in the store's place."""
    path = workspace.database
    if not os.path.lexists(path):
        return
    try:
        check_regular(path)
    except ValueError as error:
        # A store that is being made is empty for a moment; it has no runs yet.
        made = path.exists() and path.is_file() and not any(workspace.runs.glob("r-*"))
        if not made:
            raise _damaged(workspace, error) from error


def _damaged(workspace: Workspace, why: object) -> Damaged:
    return damaged(
        workspace.database,
        why,
        "put a copy of it in its place, or move it away to begin with an empty run store; samples, datasets and "
        "backbones are files of their own",
    )


@contextmanager
def held_open(workspace: Workspace) -> Iterator[None]:
    """For a process that writes often: SQLite empties its log into the file whenever the last connection closes, which
    takes seven times as long as the write itself."""
    with opened(workspace) as db:
        # A connection that has read nothing yet does not count.
        db.execute("SELECT id FROM runs LIMIT 1").fetchall()
        yield
