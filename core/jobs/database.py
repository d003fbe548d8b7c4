"""The workspace's SQLite file: its schema and migrations, its journal, and how it is opened.

On a disk of this machine the journal is a write-ahead log (WAL); on a file system that other
machines share, it is a rollback journal, because a WAL needs memory that all processes share
(https://sqlite.org/wal.html).
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from core.error_kinds import SQLITE_BUSY_CODES, has_access, sqlite_code
from core.errors import BadInput, Damaged
from core.jobs.filesystems import check_file_locks, shared_filesystem
from core.jobs.wal_owner import check_owner, record_owner
from core.stored import check_regular_file, damaged_file_error
from core.workspace import Workspace, WorkspaceMissing, require_workspace_folder

BUSY_TIMEOUT = 30.0
"""Seconds for which a call waits for other processes that write."""
_DAMAGED_CODES = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT)

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE runs (
        id TEXT PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL, status TEXT NOT NULL,
        message TEXT NOT NULL DEFAULT '', request TEXT NOT NULL, lane TEXT NOT NULL, dataset TEXT
        NOT NULL,
        grouping TEXT NOT NULL DEFAULT '', created TEXT NOT NULL, started TEXT, finished TEXT,
        phase TEXT NOT NULL DEFAULT '', epoch INTEGER NOT NULL DEFAULT 0, epochs INTEGER NOT NULL
        DEFAULT 0,
        step INTEGER NOT NULL DEFAULT 0, steps INTEGER NOT NULL DEFAULT 0, tags TEXT NOT NULL
        DEFAULT '[]',
        note TEXT NOT NULL DEFAULT '', result TEXT, worker_pid INTEGER, cancel_asked TEXT
    );
    CREATE INDEX runs_by_status ON runs (status, lane, created);
    CREATE TABLE points (
        run TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE, step INTEGER NOT NULL, name TEXT
        NOT NULL,
        value REAL NOT NULL, PRIMARY KEY (run, step, name)
    ) WITHOUT ROWID;
    """,
    """
    CREATE TABLE sweeps (id TEXT PRIMARY KEY, name TEXT NOT NULL, spec TEXT NOT NULL, created TEXT
        NOT NULL);
    CREATE INDEX runs_by_group ON runs (grouping)
    """,
    """
    CREATE INDEX validation_points ON points (run, name, value) WHERE name IN ('validation_loss',
        'validation_auc')
    """,
    """
    ALTER TABLE runs ADD COLUMN worker_host TEXT;
    ALTER TABLE runs ADD COLUMN claim TEXT;
    CREATE TABLE workers (lane TEXT PRIMARY KEY, token TEXT NOT NULL);
    CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL)
    """,
)
"""Scripts that take the schema from one version to the next; PRAGMA user_version counts those
applied."""


_checked_stores: set[tuple[str, int, int]] = set()
"""(path, device, inode) of stores whose journal this process has checked."""
_shared_stores: set[str] = set()
"""Paths of stores that this process has found on a shared file system."""


def migrate(workspace: Workspace, create: bool = True) -> None:
    """Bring the store to the newest schema, and to the journal that its file system allows.

    Args:
        workspace: where the store is.
        create: whether to create the store if there is none.

    Raises:
        BadInput: the schema is of a newer Thaw, or file locks do not work there.
        WorkspaceMissing: there is no store, and `create` is False.
        Damaged: the file is not a store; nothing is written over it.
    """
    _check_file(workspace)
    checked = _is_checked(workspace)
    shared = "" if checked else shared_filesystem(workspace.root)
    if shared:
        _prepare_shared(workspace, shared)
    with connect(workspace, create) as db:
        version = db.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        raise BadInput(
            f"The run store {str(workspace.database)!r} has schema version {version}, newer than"
            f" the {len(MIGRATIONS)} this Thaw knows; open it with the newer Thaw."
        )
    if version < len(MIGRATIONS):
        _upgrade(workspace)
    if not checked:
        _set_journal_mode(workspace, shared)


def _upgrade(workspace: Workspace) -> None:
    with connect(workspace) as db:
        if not shared_filesystem(workspace.root):
            db.execute("PRAGMA journal_mode = WAL")
        db.execute("BEGIN IMMEDIATE")
        version = db.execute("PRAGMA user_version").fetchone()[0]
        for script in MIGRATIONS[version:]:
            for statement in script.split(";"):
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


def _prepare_shared(workspace: Workspace, kind: str) -> None:
    """Check that file locks work and disable the write-ahead log, before the store is opened."""
    # A process that cannot write here only reads, which needs neither.
    if not has_access(workspace.root, os.W_OK):
        return
    if check_file_locks(workspace.root, workspace.database):
        _disable_wal(workspace, kind)
    _shared_stores.add(str(workspace.database))


def _disable_wal(workspace: Workspace, kind: str) -> None:
    """Write the log into the store and use a rollback journal from then on."""
    with connect(workspace, timeout=1.0) as db:
        try:
            # In exclusive mode SQLite reads the log without shared memory.
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            db.execute("PRAGMA journal_mode = TRUNCATE").fetchone()
        except sqlite3.OperationalError as error:
            if not is_busy(error):
                raise
            raise BadInput(
                f"The run store {str(workspace.database)!r} is now on a network file system"
                f" ({kind}) but still has the journal of a local disk, which loses writes there,"
                " and another process has it open. End every worker and app that uses it, then try"
                " again."
            ) from error


def _set_journal_mode(workspace: Workspace, shared: str) -> None:
    """Return to a write-ahead log where the store is on a local disk, and remember it as checked.

    A folder that this machine exports is on a local disk here and on a network file system
    elsewhere. Whoever opens it over the network records the file's inode, so that this machine
    keeps the rollback journal; a copy on another disk has another inode.
    """
    path = workspace.database
    inode = path.stat().st_ino
    with connect(workspace) as db:
        recorded = db.execute("SELECT value FROM facts WHERE name = 'shared_inode'").fetchone()
        mode = db.execute("PRAGMA journal_mode").fetchone()[0]
        if (
            shared
            and has_access(workspace.root, os.W_OK)
            and (recorded is None or recorded[0] != str(inode))
        ):
            db.execute("INSERT OR REPLACE INTO facts VALUES ('shared_inode', ?)", (str(inode),))
    if not shared and mode != "wal" and (recorded is None or recorded[0] != str(inode)):
        with connect(workspace, timeout=0.0) as db:
            try:
                db.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError:
                # In use by another process, or read-only: a rollback journal is correct too, only
                # slower.
                return
    _checked_stores.add(_file_identity(workspace))


def _is_checked(workspace: Workspace) -> bool:
    try:
        return _file_identity(workspace) in _checked_stores
    except FileNotFoundError:
        return False


def _file_identity(workspace: Workspace) -> tuple[str, int, int]:
    found = workspace.database.stat()
    return str(workspace.database), found.st_dev, found.st_ino


@contextmanager
def connect(
    workspace: Workspace, create: bool = False, timeout: float = BUSY_TIMEOUT, durable: bool = True
) -> Iterator[sqlite3.Connection]:
    """Open a connection for one transaction, which is rolled back where the block raises.

    Args:
        workspace: where the store is.
        create: whether to create the file if there is none.
        timeout: seconds to wait for other processes that write.
        durable: whether the transaction must survive a power cut; the progress of a running job
            need not.

    Raises:
        WorkspaceMissing: there is no store any more.
        Damaged: the file is not a whole database.
    """
    if not _is_checked(workspace):
        check_owner(workspace)
    address = f"{workspace.database.absolute().as_uri()}?mode={'rwc' if create else 'rw'}"
    try:
        db = sqlite3.connect(address, uri=True, timeout=timeout, isolation_level="IMMEDIATE")
    except sqlite3.OperationalError as error:
        require_workspace_folder(workspace)
        if create or workspace.database.exists():
            raise
        raise WorkspaceMissing(
            f"The run store {str(workspace.database)!r} is not there any more: its workspace was"
            " removed or replaced while it was in use. Put it back, or open the workspace again to"
            " begin with an empty one."
        ) from error
    try:
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA foreign_keys = ON")
        shared = str(workspace.database) in _shared_stores
        if shared:
            # TRUNCATE, not DELETE: other machines may cache for seconds that a journal exists.
            db.execute("PRAGMA journal_mode = TRUNCATE")
        # At a power cut NORMAL may damage a store with a rollback journal; one with a write-ahead
        # log only loses its last transactions.
        db.execute(f"PRAGMA synchronous = {'FULL' if durable or shared else 'NORMAL'}")
        with db:
            yield db
    except sqlite3.DatabaseError as error:
        # Only the message distinguishes a missing table from other errors of SQL.
        if sqlite_code(error) in _DAMAGED_CODES or str(error).startswith(
            ("no such table", "no such column")
        ):
            raise _damaged_store_error(workspace, error) from error
        if str(error).endswith("already exists"):
            raise _damaged_store_error(
                workspace, "its tables and its schema version differ"
            ) from error
        raise
    finally:
        db.close()


def is_busy(error: sqlite3.Error) -> bool:
    """Return whether other processes locked the store for longer than the timeout."""
    return sqlite_code(error) in SQLITE_BUSY_CODES


def _check_file(workspace: Workspace) -> None:
    """Raise Damaged where a folder, a broken link or an emptied file is in the store's place."""
    path = workspace.database
    if not os.path.lexists(path):
        return
    try:
        check_regular_file(path)
    except ValueError as error:
        # A store that another process creates is empty for a moment; it has no runs yet.
        is_new = path.exists() and path.is_file() and not any(workspace.runs.glob("r-*"))
        if not is_new:
            raise _damaged_store_error(workspace, error) from error


def _damaged_store_error(workspace: Workspace, why: object) -> Damaged:
    return damaged_file_error(
        workspace.database,
        why,
        "move it away, with what lies beside it under its name, to begin with an empty run store or"
        " to put a copy in its place; samples, datasets and backbones are files of their own",
    )


@contextmanager
def keep_connection(workspace: Workspace) -> Iterator[None]:
    """Keep a connection open, for a process that writes often.

    SQLite writes its log into the store whenever the last connection closes, which takes seven
    times as long as the write itself.
    """
    with connect(workspace) as db:
        # SQLite opens the file only at the first query.
        db.execute("SELECT id FROM runs LIMIT 1").fetchall()
        record_owner(workspace)
        yield
