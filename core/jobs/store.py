"""The run store that the app, the command line and the workers share.

Every call opens its own connection, so that any thread of any process may call. Each change is one
transaction.
"""

import json
import math
import secrets
from collections.abc import Sequence
from typing import Any

import numpy as np

from core.errors import BadInput
from core.files.durable import remove_folders
from core.jobs.database import connect
from core.jobs.queue import CANCELLED_MESSAGE as CANCELLED_MESSAGE
from core.jobs.queue import PAUSED_PHASE as PAUSED_PHASE
from core.jobs.queue import RunQueue, utc_now
from core.jobs.requests import Request, request_to_json
from core.jobs.run import Run, RunLabel, ValidationSummary, run_from_row
from core.jobs.run_cache import read_runs, read_validation
from core.program import PROGRAM
from core.read_only import require_writable

RESUMABLE_STATUSES = ("interrupted", "failed", "cancelled")
NAME_LENGTH, TAG_LENGTH, NOTE_LENGTH = 120, 32, 4000
"""Longest name of a run, longest tag and longest note, in characters."""


def new_run_ids(n_runs: int) -> list[str]:
    """Return ids for runs that are about to be queued."""
    return [f"r-{secrets.token_hex(4)}" for _ in range(n_runs)]


class RunStore(RunQueue):
    """The runs and sweeps of one workspace.

    Whatever changes something raises BadInput where the process is read-only (core.read_only).
    """

    def submit(self, request: Request, name: str, queue: str) -> Run:
        """Queue a run of `request` under a name, and return it."""
        return self.submit_all([(request, name)], queue)[0]

    def submit_all(
        self, requests: Sequence[tuple[Request, str]], queue: str, ids: Sequence[str] = ()
    ) -> list[Run]:
        """Queue a run for every (request, name), all or none, and return them.

        Args:
            requests: each with the name of its run.
            queue: whose worker runs them.
            ids: of the runs, from `new_run_ids`, where requests name one another; else new ones.
        """
        require_writable()
        ids = ids or new_run_ids(len(requests))
        rows = []
        for run_id, (request, name) in zip(ids, requests, strict=True):
            values = request_to_json(request)
            group = values.get("group", "")
            rows.append(
                (
                    run_id,
                    values["kind"],
                    name,
                    json.dumps(values),
                    queue,
                    request.dataset,
                    group,
                    utc_now(),
                )
            )
        with connect(self.workspace) as db:
            db.executemany(
                "INSERT INTO runs (id, kind, name, status, request, lane, dataset, grouping,"
                " created) VALUES (?, ?, ?, 'queued', ?, ?, ?, ?, ?)",
                rows,
            )
        return [self.get(run_id) for run_id in ids]

    def get(self, run_id: str) -> Run:
        """Return the run of that id; BadInput where there is none."""
        with connect(self.workspace) as db:
            row = db.execute("SELECT * FROM runs WHERE id = ?", (run_id,)).fetchone()
        if row is None:
            raise _no_run(run_id)
        return run_from_row(row)

    def get_label(self, run_id: str) -> RunLabel:
        """Return the label of that run, also where the rest of it is damaged.

        Raises:
            BadInput: there is none.
        """
        with connect(self.workspace) as db:
            row = db.execute("SELECT id, name, status FROM runs WHERE id = ?", (run_id,)).fetchone()
        if row is None:
            raise _no_run(run_id)
        return RunLabel(*map(str, row))

    def list_group(self, group: str) -> list[Run]:
        """Return the runs of one group, oldest first."""
        return read_runs(self.workspace, "WHERE grouping = ? ORDER BY rowid", [group])

    def save_sweep(self, sweep_id: str, name: str, spec: dict[str, Any]) -> None:
        """Store a sweep, or its new name and spec."""
        require_writable()
        with connect(self.workspace) as db:
            db.execute(
                "INSERT INTO sweeps (id, name, spec, created) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET name = excluded.name, spec = excluded.spec",
                (sweep_id, name, json.dumps(spec), utc_now()),
            )

    def rename_sweep(self, sweep_id: str, name: str) -> None:
        """Give a sweep another name."""
        require_writable()
        with connect(self.workspace) as db:
            db.execute("UPDATE sweeps SET name = ? WHERE id = ?", (name, sweep_id))

    def sweeps(self) -> list[tuple[str, str, str, str]]:
        """Return (id, name, spec as JSON, created) of every sweep, newest first."""
        with connect(self.workspace) as db:
            rows = db.execute(
                "SELECT id, name, spec, created FROM sweeps ORDER BY rowid DESC"
            ).fetchall()
        return [tuple(row) for row in rows]

    def list(
        self, status: str | None = None, kind: str | None = None, limit: int | None = None
    ) -> list[Run]:
        """Return runs, newest first.

        Args:
            status: only runs of this status.
            kind: "pretrain", "finetune", "blend" or "interpolate"; None for all but the last, which
                is shown with the run that it interpolates.
            limit: at most that many, the newest.
        """
        # Two queries and not "kind = ? OR ? IS NULL", for which SQLite would not use its index.
        conditions = ["kind = ?" if kind else "kind != 'interpolate'"]
        values = [kind] if kind else []
        if status:
            conditions.append("status = ?")
            values.append(status)
        newest = "" if limit is None else f" LIMIT {limit:d}"
        clause = f"WHERE {' AND '.join(conditions)} ORDER BY rowid DESC{newest}"
        return read_runs(self.workspace, clause, values)

    def count_ahead(self, waiting: Sequence[Run]) -> int:
        """Return how many runs of the same queue come before all of these runs.

        Queued and running runs count.
        """
        query = (
            "SELECT count(*) FROM runs WHERE lane = ? AND (status = 'running' OR status = 'queued'"
            " AND rowid < (SELECT min(rowid) FROM runs WHERE id IN (SELECT value FROM"
            " json_each(?))))"
        )
        with connect(self.workspace) as db:
            found = db.execute(
                query, (waiting[0].queue, json.dumps([run.id for run in waiting]))
            ).fetchone()
        return int(found[0])

    def count_by_status(self) -> dict[str, int]:
        """Return the number of runs by status."""
        with connect(self.workspace) as db:
            return dict(db.execute("SELECT status, count(*) FROM runs GROUP BY status").fetchall())

    def points(self, run_id: str, *names: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Return the curves of a run by name, ascending by step.

        Args:
            run_id: the run.
            names: the curves to read; all where none is given.

        Returns:
            Per name the steps (int64) and the values (float64), both of shape ``(n_points,)``.
        """
        condition = f" AND name IN ({', '.join('?' * len(names))})" if names else ""
        with connect(self.workspace) as db:
            db.row_factory = None
            rows = db.execute(
                f"SELECT name, step, value FROM points WHERE run = ?{condition} ORDER BY step",
                (run_id, *names),
            ).fetchall()
        curves: dict[str, tuple[list[int], list[float]]] = {}
        for name, step, value in rows:
            steps, values = curves.setdefault(name, ([], []))
            steps.append(step)
            values.append(value)
        return {
            name: (np.array(steps, dtype=np.int64), np.array(values, dtype=np.float64))
            for name, (steps, values) in sorted(curves.items())
        }

    def validation_summaries(self, runs: Sequence[Run]) -> dict[str, ValidationSummary]:
        """Return best and last validation metrics of each of these runs, by id."""
        return read_validation(self.workspace, runs)

    def best_validation(self, run_id: str, step: int) -> tuple[float, bool]:
        """Return the lowest validation loss of a run up to `step`.

        Returns:
            The loss, infinite where there is none, and whether there is a loss of `step` itself.
        """
        query = (
            "SELECT min(value), max(step) FROM points WHERE run = ? AND name = 'validation_loss'"
            " AND step <= ?"
        )
        with connect(self.workspace) as db:
            lowest, last = db.execute(query, (run_id, step)).fetchone()
        return (math.inf, False) if last is None else (lowest, last == step > 0)

    def request_cancel(self, run_id: str) -> None:
        """Cancel a queued run at once, and ask a running one to stop."""
        require_writable()
        with connect(self.workspace) as db:
            db.execute(
                "UPDATE runs SET status = 'cancelled', message = 'Cancelled before it began.',"
                " finished = ? WHERE id = ? AND status = 'queued'",
                (utc_now(), run_id),
            )
            db.execute(
                "UPDATE runs SET cancel_asked = coalesce(cancel_asked, ?) WHERE id = ? AND status ="
                " 'running'",
                (utc_now(), run_id),
            )

    def resume(self, run_id: str) -> None:
        """Queue an interrupted, failed or cancelled run again; it resumes from its checkpoint.

        Raises:
            BadInput: the run has another status.
        """
        require_writable()
        run = self.get(run_id)
        if run.status not in RESUMABLE_STATUSES:
            raise BadInput(
                f"Run {run_id} is {run.status}; only {', '.join(RESUMABLE_STATUSES)} runs can be"
                " resumed."
            )
        with connect(self.workspace) as db:
            db.execute(
                "UPDATE runs SET status = 'queued', message = '', finished = NULL, cancel_asked ="
                " NULL WHERE id = ? AND status = ?",
                (run_id, run.status),
            )

    def annotate(
        self,
        run_id: str,
        name: str | None = None,
        tags: Sequence[str] | None = None,
        note: str | None = None,
    ) -> None:
        """Set the name, tags and note of a run, each only if it is given.

        A blank name changes nothing.
        """
        require_writable()
        self.get(run_id)
        values: dict[str, str] = {}
        if name is not None and name.strip():
            values["name"] = name.strip()[:NAME_LENGTH]
        if tags is not None:
            values["tags"] = json.dumps(_clean_tags(tags))
        if note is not None:
            values["note"] = note[:NOTE_LENGTH]
        with connect(self.workspace) as db:
            for column, value in values.items():
                db.execute(f"UPDATE runs SET {column} = ? WHERE id = ?", (value, run_id))

    def change_tags(
        self, run_ids: Sequence[str], add: Sequence[str] = (), remove: Sequence[str] = ()
    ) -> None:
        """Add tags to every one of these runs and remove tags from them; other tags stay."""
        require_writable()
        removed = set(_clean_tags(remove))
        with connect(self.workspace) as db:
            db.execute("BEGIN IMMEDIATE")
            for run_id in run_ids:
                row = db.execute("SELECT tags FROM runs WHERE id = ?", (run_id,)).fetchone()
                tags = (
                    {tag for tag in json.loads(row["tags"]) if tag not in removed} if row else set()
                )
                cleaned = json.dumps(sorted(tags | set(_clean_tags(add))))
                db.execute("UPDATE runs SET tags = ? WHERE id = ?", (cleaned, run_id))

    def delete(self, run_id: str) -> None:
        """Remove a run, its points and its folder; BadInput while it is running."""
        require_writable()
        with connect(self.workspace) as db:
            done = db.execute(
                "DELETE FROM runs WHERE id = ? AND status != 'running'", (run_id,)
            ).rowcount
        if not done:
            self.get_label(run_id)
            raise BadInput(f"Run {run_id} is running; cancel it before you delete it.")
        remove_folders([self.workspace.runs / run_id])

    def delete_sweep(self, sweep_id: str) -> None:
        """Remove a sweep, all its runs and their folders; BadInput while one of them is active."""
        require_writable()
        with connect(self.workspace) as db:
            db.execute("BEGIN IMMEDIATE")
            query = (
                "SELECT count(*) FROM runs WHERE grouping = ? AND status IN ('queued', 'running')"
            )
            if active := db.execute(query, (sweep_id,)).fetchone()[0]:
                raise BadInput(
                    f"{active} runs of the sweep are queued or running; cancel them before you"
                    " delete it."
                )
            deleted = db.execute(
                "DELETE FROM runs WHERE grouping = ? RETURNING id", (sweep_id,)
            ).fetchall()
            db.execute("DELETE FROM sweeps WHERE id = ?", (sweep_id,))
        remove_folders([self.workspace.runs / row["id"] for row in deleted])


def _no_run(run_id: str) -> BadInput:
    return BadInput(
        f"There is no run {run_id[:40]!r} in this workspace; `{PROGRAM} runs` lists them."
    )


def _clean_tags(tags: Sequence[str]) -> list[str]:
    """Return the tags without blanks and duplicates, sorted, none longer than TAG_LENGTH."""
    return sorted({tag.strip()[:TAG_LENGTH] for tag in tags if tag.strip()})
