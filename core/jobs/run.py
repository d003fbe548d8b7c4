"""A run as the store keeps it."""

import dataclasses
import json
import sqlite3
from dataclasses import dataclass
from typing import Any

from core.errors import Damaged
from core.stored import check_timestamp
from core.workspace import parse_json

ACTIVE = ("queued", "running")
STATUSES = (*ACTIVE, "done", "failed", "cancelled", "interrupted")


@dataclass(frozen=True)
class Run:
    """One training. status: queued, running, done, failed, cancelled or interrupted; message
    explains the last three.

    request: the request as JSON. lane: the worker's, "cuda" or "cpu". group: shared by runs
    launched together. created, started, finished, cancel_asked: ISO times in UTC, to be shown; a
    clock may be set, so they decide nothing. result: see core.training.results.build_result.
    worker_host: core.jobs.process_place.current_place() of the process that runs it. claim: made up when that
    process took it; whoever writes for a running run names it.
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
        # What is derived from a run may be kept by it; two states of the same run differ all the
        # same.
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
class ValidationSummary:
    """A run's validation metrics over its epochs: lowest and last log loss (nats), highest and last
    AUC."""

    best_loss: float | None = None
    last_loss: float | None = None
    best_auc: float | None = None
    last_auc: float | None = None


def run_from_row(row: sqlite3.Row) -> Run:
    """The run of a whole row of the table.

    A run whose result is damaged has failed with a sentence that says so. `Damaged` where the
    request is, without which there is nothing to show or to carry out.
    """
    values = dict(row)
    request, result, tags = (values.pop(name) for name in ("request", "result", "tags"))
    run = Run(
        **{"group" if name == "grouping" else name: value for name, value in values.items()},
        request={},
        result=None,
        tags=(),
    )
    try:
        run = dataclasses.replace(run, request=_request(run, request), tags=_tags(tags))
        check_timestamp(run.created, "created")
    except (ValueError, TypeError, RecursionError) as error:
        raise Damaged(
            f"The run {run.id!r} ({str(run.name)[:80]}) in the run store is damaged: {error}. Put a"
            " copy of thaw.sqlite in its place; the run is left out until then, and all others are"
            " as they were."
        ) from error
    if not result:
        return run
    try:
        return dataclasses.replace(run, result=_object(result, "result"))
    except (ValueError, TypeError, RecursionError) as error:
        message = (
            f"The result that the run store holds of this run is damaged: {error}. Put a copy of"
            " thaw.sqlite in its place, or launch the same run again."
        )
        return dataclasses.replace(run, status="failed", message=message)


_KINDS: dict[str, type | tuple[type, ...]] = {
    # Of a request.
    "dataset": str,
    "backbone": str,
    "strategy": str,
    "architecture": str,
    "name": str,
    "train": dict,
    "head": dict,
    "options": dict,
    "freeze_depth": int,
    "target_rows": int,
    # Of a result.
    "metrics": dict,
    "before": (dict, type(None)),
    "stages": list,
    "seconds": dict,
    "device": str,
    "threshold": (int, float, type(None)),
    "trained_parameters": int,
    "train_rows": int,
    "best_epoch": int,
    "epochs_run": int,
    "alphas": list,
    "parts": dict,
}
"""Kinds of the values that a request or a result may hold, as far as pages and commands read them
unasked."""


def _object(text: object, what: str) -> dict[str, Any]:
    """The JSON object in `text`; ValueError where there is none, or one of its values is of another
    kind than usual."""
    values = parse_json(str(text))
    if not isinstance(values, dict):
        raise ValueError(f"its {what} is no object")
    for name, value in values.items():
        if name in _KINDS and not isinstance(value, _KINDS[name]):
            raise ValueError(f"the {name} of its {what} is {str(value)[:40]!r}")
    for name in ("metrics", "before", "parts"):
        if not all(
            isinstance(one, dict | int | float | None) for one in (values.get(name) or {}).values()
        ):
            raise ValueError(f"the {name} of its {what} are no numbers by part")
    if not all(isinstance(one, dict) for one in values.get("stages", ())):
        raise ValueError(f"the stages of its {what} are no objects")
    return values


def _request(run: Run, text: object) -> dict[str, Any]:
    if run.status not in STATUSES:
        raise ValueError(f"its status is {str(run.status)[:40]!r}")
    return _object(text, "request")


def _tags(text: object) -> tuple[str, ...]:
    tags = json.loads(str(text))
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise ValueError("its tags are no list of words")
    return tuple(tags)
