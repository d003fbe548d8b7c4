"""What those who carry runs out do with the store: claim a run, report on it, end it.

Each call is one transaction, and nothing is computed inside one: a process that is stopped there
keeps the others waiting.
"""

import json
import math
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from core.errors import RunError
from core.jobs.database import connect, migrate
from core.jobs.process_place import current_place
from core.jobs.reporter import Point
from core.jobs.run import Run, run_from_row
from core.jobs.run_result import RunResult, result_to_json
from core.workspace import Workspace, nan_to_none

PAUSED_PHASE = "waiting for the other arms"
"""Phase of a queued run that has come to a rung of its sweep (core.runs.halving)."""
PAUSED_LAST_ORDER = f"CASE phase WHEN '{PAUSED_PHASE}' THEN epoch ELSE 0 END"
"""Orders waiting runs: those that have not come to a rung first, then by how far they have come."""

RELEASE_ASSIGNMENTS = "worker_pid = NULL, worker_host = NULL, claim = NULL, phase = ''"
"""What a run loses when nothing runs it any more."""
CANCELLED_MESSAGE = "Cancelled. Resume goes on from the last checkpoint."


class ClaimLost(RunError):
    """The run that this process carries out is another's now, or is not in the store that is there
    now."""


def utc_now() -> str:
    """The time in UTC, ISO, to the microsecond, to be shown; the order of runs is that of their
    rows."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


class RunQueue:
    """The part of the store (core.jobs.store.RunStore) that workers write."""

    def __init__(self, workspace: Workspace, create: bool = True) -> None:
        """create: whether the store is made when absent; a worker may not, its workspace was
        removed then."""
        self.workspace = workspace
        migrate(workspace, create)

    def register_worker(self, queue: str) -> str:
        """A token for the worker that holds the lane's lock: with it alone runs of the lane are
        claimed from now on.

        A store that was put in this one's place does not know it.
        """
        token = secrets.token_hex(8)
        with connect(self.workspace) as db:
            db.execute("INSERT OR REPLACE INTO workers (lane, token) VALUES (?, ?)", (queue, token))
        return token

    def is_worker_registered(self, queue: str, token: str) -> bool:
        """Whether the lane's worker is still the one with that token."""
        with connect(self.workspace) as db:
            return (
                db.execute(
                    "SELECT 1 FROM workers WHERE lane = ? AND token = ?", (queue, token)
                ).fetchone()
                is not None
            )

    def claim(self, queue: str, pid: int, token: str | None = None) -> Run | None:
        """Marks the first of the lane's waiting runs as running and returns it; None when none
        waits.

        token: the claiming worker's, see `register`; None where no worker of the lane is registered
        any more.
        """
        chosen = (
            "(SELECT id FROM runs WHERE status = 'queued' AND lane = :lane AND grouping = (SELECT"
            " grouping FROM runs WHERE status = 'queued' AND lane = :lane ORDER BY rowid LIMIT 1)"
            f" ORDER BY {PAUSED_LAST_ORDER}, rowid LIMIT 1)"
        )
        return self._claim(chosen, pid, token, {"lane": queue})

    def claim_run(self, run_id: str, pid: int, token: str | None = None) -> Run | None:
        """Marks that run as running and returns it; None when it no longer waits, or see
        `claim`."""
        return self._claim(":id", pid, token, {"id": run_id})

    def _claim(
        self, chosen: str, pid: int, token: str | None, values: dict[str, Any]
    ) -> Run | None:
        values |= {
            "now": utc_now(),
            "pid": pid,
            "host": current_place(),
            "claim": secrets.token_hex(8),
            "token": token,
        }
        known = (
            " AND EXISTS (SELECT 1 FROM workers WHERE workers.lane = runs.lane AND token = :token)"
            if token
            else ""
        )
        with connect(self.workspace) as db:
            row = db.execute(
                "UPDATE runs SET status = 'running', message = '', started = coalesce(started,"
                " :now), worker_pid = :pid, worker_host = :host, claim = :claim WHERE id ="
                f" {chosen} AND status = 'queued'{known} RETURNING *",
                values,
            ).fetchone()
        return run_from_row(row) if row else None

    def waiting_ids(self, queue: str) -> tuple[str, tuple[str, ...]]:
        """(group of the lane's oldest queued run, ids of all of it that wait, in order); empty when
        none waits."""
        query = (
            "SELECT id, grouping, rowid FROM runs WHERE status = 'queued' AND lane = ? ORDER BY"
            f" {PAUSED_LAST_ORDER}, rowid"
        )
        with connect(self.workspace) as db:
            rows = db.execute(query, (queue,)).fetchall()
        group = min(rows, key=lambda row: row["rowid"])["grouping"] if rows else ""
        return group, tuple(row["id"] for row in rows if row["grouping"] == group)

    def active_statuses(self, queue: str) -> frozenset[str]:
        """Which of "queued" and "running" some run of the lane is."""
        query = (
            "SELECT DISTINCT status FROM runs WHERE status IN ('queued', 'running') AND lane = ?"
        )
        with connect(self.workspace) as db:
            return frozenset(row["status"] for row in db.execute(query, (queue,)))

    def set_phase(self, run_id: str, phase: str, claim: str | None = None) -> None:
        """Records what a running job does now; claim: see `_claimed_transaction`."""
        with self._claimed_transaction(run_id, claim, durable=False) as db:
            db.execute("UPDATE runs SET phase = ? WHERE id = ?", (phase, run_id))

    def set_progress(
        self, run_id: str, epoch: int, epochs: int, step: int, steps: int, claim: str | None = None
    ) -> None:
        """Records how far a running job has come."""
        with self._claimed_transaction(run_id, claim, durable=False) as db:
            db.execute(
                "UPDATE runs SET epoch = ?, epochs = ?, step = ?, steps = ? WHERE id = ?",
                (epoch, epochs, step, steps, run_id),
            )

    def add_points(self, run_id: str, rows: Sequence[Point], claim: str | None = None) -> None:
        """Appends points of a run; one of the same step and name is replaced.

        A point without a value is left out, such as the AUC of validation rows that are all of one
        class. They outlast a power cut, since the checkpoint that is written next says that they
        are there.
        """
        kept = [(run_id, *row) for row in rows if not math.isnan(row[2])]
        with self._claimed_transaction(run_id, claim) as db:
            db.executemany(
                "INSERT OR REPLACE INTO points (run, step, name, value) VALUES (?, ?, ?, ?)", kept
            )

    def drop_points_after(self, run_id: str, step: int, claim: str | None = None) -> None:
        """Removes points of steps after `step`."""
        with self._claimed_transaction(run_id, claim) as db:
            db.execute("DELETE FROM points WHERE run = ? AND step > ?", (run_id, step))

    @contextmanager
    def _claimed_transaction(
        self, run_id: str, claim: str | None, durable: bool = True
    ) -> Iterator[sqlite3.Connection]:
        """A transaction for the process that runs it: ClaimLost unless the run is running under
        `claim`.

        The store that it finds may have been put in the place of the one that it claimed from.
        """
        with connect(self.workspace, durable=durable) as db:
            if claim is not None:
                db.execute("BEGIN IMMEDIATE")
                query = "SELECT 1 FROM runs WHERE id = ? AND claim = ? AND status = 'running'"
                if db.execute(query, (run_id, claim)).fetchone() is None:
                    raise ClaimLost(f"Run {run_id} is not this process's any more.")
            yield db

    def pause(self, run_id: str, claim: str | None = None) -> None:
        """Queues a running run again, behind those of its group that have not come so far; ends it
        where someone has asked to cancel it meanwhile."""
        with self._claimed_transaction(run_id, claim) as db:
            queued = db.execute(
                "UPDATE runs SET status = 'queued', phase = ?, worker_pid = NULL, worker_host ="
                " NULL, claim = NULL WHERE id = ? AND status = 'running' AND cancel_asked IS NULL",
                (PAUSED_PHASE, run_id),
            ).rowcount
        # Once it waits, another process may have it running again.
        if not queued:
            self.finish(run_id, "cancelled", CANCELLED_MESSAGE, claim=claim)

    def finish(
        self,
        run_id: str,
        status: str,
        message: str = "",
        result: RunResult | None = None,
        claim: str | None = None,
    ) -> None:
        """Ends a running run as done, failed, cancelled or interrupted; does nothing when it is no
        longer running."""
        stored = (
            None
            if result is None
            else json.dumps(nan_to_none(result_to_json(result)), allow_nan=False)
        )
        with self._claimed_transaction(run_id, claim) as db:
            db.execute(
                f"UPDATE runs SET status = ?, message = ?, result = ?, finished = ?, {RELEASE_ASSIGNMENTS}"
                " WHERE id = ? AND status = 'running'",
                (status, message, stored, utc_now(), run_id),
            )

    def interrupt_stale(self, queue: str) -> None:
        """Marks the lane's running runs as interrupted; only for one who knows that no worker of
        the lane lives."""
        with connect(self.workspace) as db:
            db.execute(
                "UPDATE runs SET status = CASE WHEN cancel_asked IS NULL THEN 'interrupted' ELSE"
                " 'cancelled' END, message = CASE WHEN cancel_asked IS NULL THEN 'The worker died."
                " Resume goes on from the last checkpoint.' ELSE 'Cancelled.' END, finished = ?,"
                f" {RELEASE_ASSIGNMENTS} WHERE status = 'running' AND lane = ?",
                (utc_now(), queue),
            )

    def cancel_requested(self, run_id: str) -> bool:
        """Whether someone asked the run to stop."""
        with connect(self.workspace) as db:
            row = db.execute("SELECT cancel_asked FROM runs WHERE id = ?", (run_id,)).fetchone()
        return row is None or row["cancel_asked"] is not None
