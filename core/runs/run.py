"""A run as the store keeps it."""

import json
import sqlite3
from dataclasses import dataclass
from typing import Any

from core.workspace import parse_json

ACTIVE = ("queued", "running")
STATUSES = (*ACTIVE, "done", "failed", "cancelled", "interrupted")


@dataclass(frozen=True)
class Run:
    """One training. status: queued, running, done, failed, cancelled or interrupted; message explains the last three.

    request: the request as JSON. lane: the worker's, "cuda" or "cpu". group: shared by runs launched together.
    created, started, finished, cancel_asked: ISO times in UTC, to be shown; a clock may be set, so they decide nothing.
    result: see core.training.results.summary. worker_host: core.runs.place.here() of the process that runs it. claim:
    made up when that process took it; whoever writes for a running run names it.
    """

    id: str
    kind: str
    name: str
    status: str
    message: str
    request: dict[str, Any]
    lane: str
    dataset: str
    group: str
    created: str
    started: str | None
    finished: str | None
    phase: str
    epoch: int
    epochs: int
    step: int
    steps: int
    tags: tuple[str, ...]
    note: str
    result: dict[str, Any] | None
    worker_pid: int | None
    cancel_asked: str | None
    worker_host: str | None = None
    claim: str | None = None

    def __hash__(self) -> int:
        # What is derived from a run may be kept by it; two states of the same run differ all the same.
        return hash(self.id)

    @property
    def active(self) -> bool:
        """Whether it is queued or running."""
        return self.status in ACTIVE

    @property
    def halted(self) -> int:
        """Epochs after which successive halving ended it; 0 where it did not, or has not yet."""
        return int((self.result or {}).get("halted", 0))


@dataclass(frozen=True)
class Validation:
    """A run's validation metrics over its epochs: lowest and last log loss (nats), highest and last AUC."""

    best_loss: float | None = None
    last_loss: float | None = None
    best_auc: float | None = None
    last_auc: float | None = None


def run_of(row: sqlite3.Row) -> Run:
    """The run of a whole row of the table."""
    values = dict(row)
    request, result, tags = (values.pop(name) for name in ("request", "result", "tags"))
    return Run(
        **{"group" if name == "grouping" else name: value for name, value in values.items()},
        request=json.loads(request),
        result=parse_json(result) if result else None,
        tags=tuple(json.loads(tags)),
    )
