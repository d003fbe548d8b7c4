"""What the processes that run jobs do with the store: claim a run, report on it, end it.

Each call is one transaction, and nothing is computed inside one: a process that is stopped within a
transaction holds SQLite's lock and blocks all others.
"""

import json
import math
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from core.errors import Damaged, RunError
from core.jobs.database import connect, migrate
from core.jobs.process_location import current_location
from core.jobs.reporter import Point
from core.jobs.run import Run, run_from_row
from core.jobs.run_result import RunResult, result_to_json
from core.workspace import Workspace, nan_to_none

PAUSED_PHASE = "waiting for the other arms"
"""Phase of a queued run that waits at a rung of its sweep (core.runs.halving)."""
PAUSED_LAST_ORDER = f"CASE phase WHEN '{PAUSED_PHASE}' THEN epoch ELSE 0 END"
"""SQL that orders waiting runs: first those not yet at a rung, then by finished epochs."""

RELEASE_ASSIGNMENTS = "worker_pid = NULL, worker_host = NULL, claim = NULL, phase = ''"
"""SQL that clears the columns of the process that ran a run."""
CANCELLED_MESSAGE = "Cancelled. Resume goes on from the last checkpoint."


class ClaimLost(RunError):
    """The run belongs to another process now, or is not in the store that is there now."""


def utc_now() -> str:
    """Return the time in UTC, ISO 8601 with microseconds.

    It is only shown. Runs are ordered by their row numbers, since a clock may be set back.
    """
    return datetime.now(UTC).isoformat(timespec="microseconds")


class RunQueue:
    """The part of the run store (core.jobs.store.RunStore) that workers write.

    The writing methods take the `claim` of the run (`Run.claim`): where the run is not running
    under that claim any more, they raise ClaimLost and change nothing. None skips the check.

    Args:
        workspace: where the store is.
        create: whether to create the store if there is none. A worker passes False: its workspace
            may have been removed, and then must not be created again.
    """

    def __init__(self, workspace: Workspace, create: bool = True) -> None:
        self.workspace = workspace
        migrate(workspace, create)

    def register_worker(self, queue: str) -> str:
        """Register the worker that holds the queue's lock, and return its token.

        From now on runs of the queue are claimed with this token only. A store that was put in the
        place of this one does not know the token, so that the worker notices.
        """
        token = secrets.token_hex(8)
        with connect(self.workspace) as db:
            db.execute("INSERT OR REPLACE INTO workers (lane, token) VALUES (?, ?)", (queue, token))
        return token

    def is_worker_registered(self, queue: str, token: str) -> bool:
        """Return whether the queue's worker is still the one with that token."""
        with connect(self.workspace) as db:
            return (
                db.execute(
                    "SELECT 1 FROM workers WHERE lane = ? AND token = ?", (queue, token)
                ).fetchone()
                is not None
            )

    def claim(self, queue: str, pid: int, token: str | None = None) -> Run | None:
        """Mark the queue's next waiting run as running and return it.

        Next is the run that has come least far of the group whose run has waited longest. A run
        whose row cannot be read fails, and the next one is taken.

        Args:
            queue: "cuda", "cpu" or "cluster".
            pid: of the process that will run it.
            token: the worker's, see `register_worker`; None skips the check.

        Returns:
            The run, or None where none waits or another worker is registered.
        """
        chosen = (
            "(SELECT id FROM runs WHERE status = 'queued' AND lane = :lane AND grouping = (SELECT"
            " grouping FROM runs WHERE status = 'queued' AND lane = :lane ORDER BY rowid LIMIT 1)"
            f" ORDER BY {PAUSED_LAST_ORDER}, rowid LIMIT 1)"
        )
        while True:
            try:
                return self._claim(chosen, pid, token, {"lane": queue})
            except Damaged:
                # It has failed, and does not wait any more.
                continue

    def claim_run(self, run_id: str, pid: int, token: str | None = None) -> Run | None:
        """Mark that run as running and return it.

        None if it is not waiting any more, or has failed because its row cannot be read. See
        `claim`.
        """
        try:
            return self._claim(":id", pid, token, {"id": run_id})
        except Damaged:
            return None

    def _claim(
        self, chosen: str, pid: int, token: str | None, values: dict[str, Any]
    ) -> Run | None:
        """Claim the run that the SQL `chosen` names; if its row is damaged, fail it and raise."""
        values |= {
            "now": utc_now(),
            "pid": pid,
            "host": current_location(),
            "claim": secrets.token_hex(8),
            "token": token,
        }
        registered = (
            " AND EXISTS (SELECT 1 FROM workers WHERE workers.lane = runs.lane AND token = :token)"
            if token
            else ""
        )
        with connect(self.workspace) as db:
            row = db.execute(
                "UPDATE runs SET status = 'running', message = '', started = coalesce(started,"
                " :now), worker_pid = :pid, worker_host = :host, claim = :claim WHERE id ="
                f" {chosen} AND status = 'queued'{registered} RETURNING *",
                values,
            ).fetchone()
        if row is None:
            return None
        try:
            return run_from_row(row)
        except Damaged as error:
            # Else it would stop every worker that claims it, and no other run would be trained.
            with suppress(ClaimLost):
                self.finish(row["id"], "failed", str(error), claim=values["claim"])
            raise

    def waiting_ids(self, queue: str) -> tuple[str, tuple[str, ...]]:
        """Return ``(group, ids)`` of the queue's oldest waiting run.

        `ids` are those of all waiting runs of the group. Both are empty if no run is waiting.
        """
        query = (
            "SELECT id, grouping, rowid FROM runs WHERE status = 'queued' AND lane = ? ORDER BY"
            f" {PAUSED_LAST_ORDER}, rowid"
        )
        with connect(self.workspace) as db:
            rows = db.execute(query, (queue,)).fetchall()
        group = min(rows, key=lambda row: row["rowid"])["grouping"] if rows else ""
        return group, tuple(row["id"] for row in rows if row["grouping"] == group)

    def active_statuses(self, queue: str) -> frozenset[str]:
        """Return which of "queued" and "running" occur among the queue's runs."""
        query = (
            "SELECT DISTINCT status FROM runs WHERE status IN ('queued', 'running') AND lane = ?"
        )
        with connect(self.workspace) as db:
            return frozenset(row["status"] for row in db.execute(query, (queue,)))

    def running_queues(self) -> frozenset[str]:
        """Return the queues of running runs, of runs that cannot be read as well."""
        query = "SELECT DISTINCT lane FROM runs WHERE status = 'running'"
        with connect(self.workspace) as db:
            return frozenset(str(row["lane"]) for row in db.execute(query))

    def set_phase(self, run_id: str, phase: str, claim: str | None = None) -> None:
        """Record what a running job does now."""
        with self._claimed_transaction(run_id, claim, durable=False) as db:
            db.execute("UPDATE runs SET phase = ? WHERE id = ?", (phase, run_id))

    def set_progress(
        self, run_id: str, epoch: int, epochs: int, step: int, steps: int, claim: str | None = None
    ) -> None:
        """Record how many epochs and optimiser steps of a running job are done."""
        with self._claimed_transaction(run_id, claim, durable=False) as db:
            db.execute(
                "UPDATE runs SET epoch = ?, epochs = ?, step = ?, steps = ? WHERE id = ?",
                (epoch, epochs, step, steps, run_id),
            )

    def add_points(self, run_id: str, rows: Sequence[Point], claim: str | None = None) -> None:
        """Append points of a run's curves; a point of the same step and name is replaced.

        NaN is left out, such as the AUC of validation rows of a single class. The write survives a
        power cut, because the checkpoint written next assumes that the points are there.
        """
        finite = [(run_id, *row) for row in rows if not math.isnan(row[2])]
        with self._claimed_transaction(run_id, claim) as db:
            db.executemany(
                "INSERT OR REPLACE INTO points (run, step, name, value) VALUES (?, ?, ?, ?)", finite
            )

    def drop_points_after(self, run_id: str, step: int, claim: str | None = None) -> None:
        """Remove the points of steps after `step`."""
        with self._claimed_transaction(run_id, claim) as db:
            db.execute("DELETE FROM points WHERE run = ? AND step > ?", (run_id, step))

    @contextmanager
    def _claimed_transaction(
        self, run_id: str, claim: str | None, durable: bool = True
    ) -> Iterator[sqlite3.Connection]:
        """Open a transaction; raise ClaimLost unless the run is running under `claim`.

        Another store may have been put in the place of the one in which the run was claimed.
        """
        with connect(self.workspace, durable=durable) as db:
            if claim is not None:
                db.execute("BEGIN IMMEDIATE")
                query = "SELECT 1 FROM runs WHERE id = ? AND claim = ? AND status = 'running'"
                if db.execute(query, (run_id, claim)).fetchone() is None:
                    raise ClaimLost(f"Run {run_id} is not this process's any more.")
            yield db

    def pause(self, run_id: str, claim: str | None = None, phase: str = PAUSED_PHASE) -> None:
        """Put a running run back into the queue, with the phase that says what it waits for.

        In the phase PAUSED_PHASE it comes behind those of its group that have come less far. A run
        that someone has asked to cancel meanwhile is cancelled instead.
        """
        with self._claimed_transaction(run_id, claim) as db:
            queued = db.execute(
                "UPDATE runs SET status = 'queued', phase = ?, worker_pid = NULL, worker_host ="
                " NULL, claim = NULL WHERE id = ? AND status = 'running' AND cancel_asked IS NULL",
                (phase, run_id),
            ).rowcount
        # Not asked of the store anew: once the run waits, another process may have claimed it.
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
        """End a running run; does nothing where it is not running any more.

        Args:
            run_id: the run.
            status: "done", "failed", "cancelled" or "interrupted".
            message: why, where it is not done.
            result: what came of it, where it is done.
            claim: see the class.
        """
        stored = (
            None
            if result is None
            else json.dumps(nan_to_none(result_to_json(result)), allow_nan=False)
        )
        with self._claimed_transaction(run_id, claim) as db:
            db.execute(
                "UPDATE runs SET status = ?, message = ?, result = ?, finished = ?,"
                f" {RELEASE_ASSIGNMENTS} WHERE id = ? AND status = 'running'",
                (status, message, stored, utc_now(), run_id),
            )

    def interrupt_stale(self, queue: str) -> None:
        """Mark the queue's running runs as interrupted.

        Only for a caller that holds the queue's lock, and so knows that no worker of the queue
        lives.
        """
        with connect(self.workspace) as db:
            db.execute(
                "UPDATE runs SET status = CASE WHEN cancel_asked IS NULL THEN 'interrupted' ELSE"
                " 'cancelled' END, message = CASE WHEN cancel_asked IS NULL THEN 'The worker died."
                " Resume goes on from the last checkpoint.' ELSE 'Cancelled.' END, finished = ?,"
                f" {RELEASE_ASSIGNMENTS} WHERE status = 'running' AND lane = ?",
                (utc_now(), queue),
            )

    def cancel_requested(self, run_id: str) -> bool:
        """Return whether someone has asked to cancel the run, or deleted it."""
        with connect(self.workspace) as db:
            row = db.execute("SELECT cancel_asked FROM runs WHERE id = ?", (run_id,)).fetchone()
        return row is None or row["cancel_asked"] is not None
