"""Runs as they were read before: looking at thousands of them reads and parses again only those
that have changed.

A request is written once and a result with the moment at which the run ended, so neither changes
alone. Whoever reads a run shares it with others, and changes nothing in it.
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
"""Runs kept a workspace, about 150 MB; with more than these in a store all are forgotten now and
then."""
_MUTABLE_COLUMNS = (
    "id, name, status, message, started, finished, phase, epoch, epochs, step, steps, tags, note,"
    " worker_pid, cancel_asked, worker_host, claim"
)
"""What may change in a run, but for the result, which comes with its status."""


@dataclass
class _RunCache:
    """What has been read of one store. runs: by id, (what _CHANGING held, the run). validation: by
    id and end, metrics of runs that are done. damaged: by id, what is wrong with runs that could
    not be read."""

    runs: dict[str, tuple[tuple[Any, ...], Run]] = field(default_factory=dict)
    validation: dict[tuple[str, str], ValidationSummary] = field(default_factory=dict)
    damaged: dict[str, Damaged] = field(default_factory=dict)


@lru_cache(maxsize=2)
def _cache_by_file(database: str, device: int, inode: int) -> _RunCache:
    """Of another file at the same path, such as a workspace that was put back from a copy, nothing
    is known."""
    return _RunCache()


def _cache_of(workspace: Workspace) -> _RunCache:
    try:
        found = workspace.database.stat()
    except FileNotFoundError:
        return _RunCache()
    return _cache_by_file(str(workspace.database), found.st_dev, found.st_ino)


def damaged_runs(workspace: Workspace) -> list[Damaged]:
    """Runs that this process has met in the store and could not read; lists leave them out."""
    return [*_cache_of(workspace).damaged.values()]


def read_runs(workspace: Workspace, clause: str, values: Sequence[Any]) -> list[Run]:
    """The runs that `clause`, all that follows FROM, selects; without those that are damaged, see
    `damaged_runs`."""
    kept = _cache_of(workspace)
    known, broken = kept.runs, kept.damaged
    with connect(workspace) as db:
        # Both queries see the store at one moment.
        db.execute("BEGIN")
        whole_row, db.row_factory = db.row_factory, None
        rows = db.execute(f"SELECT {_MUTABLE_COLUMNS} FROM runs {clause}", values).fetchall()
        found = {row[0]: one for row in rows if (one := known.get(row[0])) and one[0] == row}
        changed = {row[0]: row for row in rows if row[0] not in found}
        db.row_factory = whole_row
        query = "SELECT * FROM runs WHERE id IN (SELECT value FROM json_each(?))"
        whole = db.execute(query, (json.dumps([*changed]),)).fetchall() if changed else []
    # Parsed once the store is let go: with a rollback journal a reader keeps writers waiting.
    for row in whole:
        try:
            found[row["id"]] = (changed[row["id"]], run_from_row(row))
            broken.pop(row["id"], None)
        except Damaged as error:
            broken[row["id"]] = error
    if len(known) + len(changed) > MAX_CACHED_RUNS:
        known.clear()
    known.update(
        {run_id: found[run_id] for run_id in [*changed][:MAX_CACHED_RUNS] if run_id in found}
    )
    return [found[row[0]][1] for row in rows if row[0] in found]


def read_validation(workspace: Workspace, runs: Sequence[Run]) -> dict[str, ValidationSummary]:
    """Validation metrics of each of `runs`, by id; points of a run that is done do not change any
    more."""
    known = _cache_of(workspace).validation
    found = {run.id: kept for run in runs if (kept := known.get(_validation_key(run)))}
    new = [run for run in runs if run.id not in found]
    # SQLite takes the index of these points only where its own condition stands in the query.
    of_it = (
        "FROM points WHERE run = id AND name = metric AND name IN ('validation_loss',"
        " 'validation_auc')"
    )
    query = (
        "SELECT *, (SELECT value FROM points WHERE run = id AND name = metric ORDER BY step DESC"
        f" LIMIT 1) AS last FROM (SELECT metric AS name, (SELECT min(value) {of_it}) AS lowest,"
        f" (SELECT max(value) {of_it}) AS highest, id, metric FROM (SELECT value AS id FROM"
        " json_each(?)), (SELECT 'validation_loss' AS metric UNION SELECT 'validation_auc')) WHERE"
        " lowest IS NOT NULL"
    )
    metrics: dict[str, dict[str, float]] = {run.id: {} for run in new}
    with connect(workspace) as db:
        for row in db.execute(query, (json.dumps([*metrics]),)) if new else ():
            if row["name"] == "validation_loss":
                metrics[row["id"]] |= {"best_loss": row["lowest"], "last_loss": row["last"]}
            else:
                metrics[row["id"]] |= {"best_auc": row["highest"], "last_auc": row["last"]}
    found |= {run_id: ValidationSummary(**values) for run_id, values in metrics.items()}
    if len(known) + len(new) > MAX_CACHED_RUNS:
        known.clear()
    known.update(
        {
            _validation_key(run): found[run.id]
            for run in new[:MAX_CACHED_RUNS]
            if run.status == "done"
        }
    )
    return found


def _validation_key(run: Run) -> tuple[str, str]:
    """A run of a store that was put back may have yet to end, or end otherwise."""
    return run.id, run.finished or ""
