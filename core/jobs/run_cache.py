"""A cache of parsed runs: listing thousands of runs reads and parses only those that have changed.

Whether a run has changed is decided by its small mutable columns. The request is written once, and
the result together with the time at which the run ended, so that neither changes alone. Cached runs
are shared between threads, which works because they are frozen.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from core.errors import Damaged
from core.jobs.database import connect
from core.jobs.run import Run, ValidationSummary, run_from_row
from core.workspace import Workspace

MAX_CACHED_RUNS = 2**14
"""Cached runs per workspace, about 150 MB; a full cache is emptied."""
_MUTABLE_COLUMNS = (
    "id, name, status, message, started, finished, phase, epoch, epochs, step, steps, tags, note,"
    " worker_pid, cancel_asked, worker_host, claim"
)
"""Columns that may change, except the result, which changes only together with the status."""


@dataclass
class _RunCache:
    """What has been read of one store.

    Args:
        runs: by id, the values of _MUTABLE_COLUMNS and the run parsed with them.
        validation: by `_validation_key`, metrics of runs that are done.
        damaged: by id, why a run could not be read.
    """

    runs: dict[str, tuple[tuple[Any, ...], Run]] = field(default_factory=dict)
    validation: dict[tuple[str, str], ValidationSummary] = field(default_factory=dict)
    damaged: dict[str, Damaged] = field(default_factory=dict)


@lru_cache(maxsize=2)
def _cache_by_file(database: str, device: int, inode: int) -> _RunCache:
    """Return the cache of that database file.

    Another file at the same path, such as a restored copy, starts with an empty cache.
    """
    return _RunCache()


def _cache_of(workspace: Workspace) -> _RunCache:
    try:
        found = workspace.database.stat()
    except FileNotFoundError:
        return _RunCache()
    return _cache_by_file(str(workspace.database), found.st_dev, found.st_ino)


def damaged_runs(workspace: Workspace) -> list[Damaged]:
    """Return the errors of the runs that this process could not read, unless deleted since.

    Lists omit these runs.
    """
    damaged = _cache_of(workspace).damaged
    if damaged:
        query = "SELECT id FROM runs WHERE id IN (SELECT value FROM json_each(?))"
        with connect(workspace) as db:
            there = {row["id"] for row in db.execute(query, (json.dumps([*damaged]),))}
        for run_id in [*damaged]:
            if run_id not in there:
                damaged.pop(run_id, None)
    return [*damaged.values()]


def read_runs(workspace: Workspace, clause: str, values: Sequence[Any]) -> list[Run]:
    """Return the runs that an SQL clause selects, without the damaged ones (see `damaged_runs`).

    Args:
        workspace: whose store is read.
        clause: everything after ``FROM runs``.
        values: of the clause's placeholders.
    """
    cache = _cache_of(workspace)
    with connect(workspace) as db:
        # One transaction, so that both queries see the same state of the store.
        db.execute("BEGIN")
        row_factory, db.row_factory = db.row_factory, None
        rows = db.execute(f"SELECT {_MUTABLE_COLUMNS} FROM runs {clause}", values).fetchall()
        found = {row[0]: one for row in rows if (one := cache.runs.get(row[0])) and one[0] == row}
        changed = {row[0]: row for row in rows if row[0] not in found}
        db.row_factory = row_factory
        query = "SELECT * FROM runs WHERE id IN (SELECT value FROM json_each(?))"
        full_rows = db.execute(query, (json.dumps([*changed]),)).fetchall() if changed else []
    # Parsed after the transaction: with a rollback journal an open reader blocks writers.
    for row in full_rows:
        try:
            found[row["id"]] = (changed[row["id"]], run_from_row(row))
            cache.damaged.pop(row["id"], None)
        except Damaged as error:
            cache.damaged[row["id"]] = error
    if len(cache.runs) + len(changed) > MAX_CACHED_RUNS:
        cache.runs.clear()
    cache.runs.update(
        {run_id: found[run_id] for run_id in [*changed][:MAX_CACHED_RUNS] if run_id in found}
    )
    return [found[row[0]][1] for row in rows if row[0] in found]


def read_validation(workspace: Workspace, runs: Sequence[Run]) -> dict[str, ValidationSummary]:
    """Return the validation metrics of each of these runs, by id.

    Those of runs that are done are cached, since their points do not change any more.
    """
    cache = _cache_of(workspace).validation
    found = {run.id: cached for run in runs if (cached := cache.get(_validation_key(run)))}
    new = [run for run in runs if run.id not in found]
    # The index on these points is partial: SQLite uses it only if the query has its condition.
    own_points = (
        "FROM points WHERE run = id AND name = metric AND name IN ('validation_loss',"
        " 'validation_auc')"
    )
    query = (
        "SELECT *, (SELECT value FROM points WHERE run = id AND name = metric"
        " ORDER BY step DESC LIMIT 1) AS last"
        f" FROM (SELECT metric AS name, (SELECT min(value) {own_points}) AS lowest,"
        f" (SELECT max(value) {own_points}) AS highest, id, metric"
        " FROM (SELECT value AS id FROM json_each(?)),"
        " (SELECT 'validation_loss' AS metric UNION SELECT 'validation_auc'))"
        " WHERE lowest IS NOT NULL"
    )
    metrics: dict[str, dict[str, float]] = {run.id: {} for run in new}
    with connect(workspace) as db:
        for row in db.execute(query, (json.dumps([*metrics]),)) if new else ():
            if row["name"] == "validation_loss":
                metrics[row["id"]] |= {"best_loss": row["lowest"], "last_loss": row["last"]}
            else:
                metrics[row["id"]] |= {"best_auc": row["highest"], "last_auc": row["last"]}
    found |= {run_id: ValidationSummary(**values) for run_id, values in metrics.items()}
    if len(cache) + len(new) > MAX_CACHED_RUNS:
        cache.clear()
    cache.update(
        {
            _validation_key(run): found[run.id]
            for run in new[:MAX_CACHED_RUNS]
            if run.status == "done"
        }
    )
    return found


def _validation_key(run: Run) -> tuple[str, str]:
    """Return the run's id and the time at which it ended.

    The time is part of the key because after a restore the run may end at another time.
    """
    return run.id, run.finished or ""
