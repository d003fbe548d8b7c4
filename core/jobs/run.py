"""A run as the store keeps it."""

import dataclasses
import json
import sqlite3
from dataclasses import dataclass
from typing import Any, TypeVar

from core.errors import BadInput, Damaged
from core.files.typed_json import to_json
from core.jobs.requests import (
    BlendRequest,
    FinetuneRequest,
    InterpolateRequest,
    PretrainRequest,
    Request,
    Window,
    request_from_json,
    request_to_json,
)
from core.jobs.run_result import RunResult, result_from_json, result_to_json
from core.stored import check_timestamp
from core.workspace import parse_json

T = TypeVar("T")

ACTIVE = ("queued", "running")
STATUSES = (*ACTIVE, "done", "failed", "cancelled", "interrupted")
_FIELDS = {"grouping": "group", "lane": "queue", "cancel_asked": "cancel_requested"}
"""Fields by column, where the two have different names."""
_JSON_NAMES = {"queue": "lane", "cancel_requested": "cancel_asked"}
"""What `--json` calls fields, where the two have different names."""


@dataclass(frozen=True)
class Run:
    """One training.

    Args:
        status: one of STATUSES; `message` explains the last three.
        request: what it was asked to do.
        queue: whose worker runs it: "cuda", "cpu", or "cluster" for a sweep that the command line
            runs itself.
        dataset: id.
        group: id shared by runs that were launched together.
        created, started, finished, cancel_requested: ISO times in UTC, to be shown; a clock may be
            set, so they decide nothing.
        phase: what it does now, in a few words.
        epoch, step: how many of `epochs` and `steps` (optimiser steps) are done.
        result: what came of it; None until it is done.
        worker_pid, worker_host: the process that runs it; see
            core.jobs.process_location.current_location.
        claim: token made when that process claimed the run; whoever writes for a running run names
            it.
    """

    id: str
    kind: str
    name: str
    status: str
    message: str
    request: Request
    queue: str
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
    result: RunResult | None
    worker_pid: int | None
    cancel_requested: str | None
    worker_host: str | None = None
    claim: str | None = None

    def __hash__(self) -> int:
        # Caches are keyed by runs; two states of the same run have the same hash and are still not
        # equal.
        return hash(self.id)

    @property
    def active(self) -> bool:
        """Whether it is queued or running."""
        return self.status in ACTIVE

    @property
    def halted(self) -> int:
        """Epochs after which successive halving ended it; 0 where it did not, or has not yet."""
        return self.result.halted if self.result else 0

    @property
    def is_trial(self) -> bool:
        """Whether a search within a budget tried a setting with it (core.runs.search)."""
        return isinstance(self.request, FinetuneRequest) and self.request.trial is not None

    @property
    def seed(self) -> int:
        """Seed of the new head, the row order and dropout."""
        return self.request.train.seed

    @property
    def strategy(self) -> str:
        """The strategy of a fine-tuning run; "" for other kinds of runs."""
        return self.request.strategy if isinstance(self.request, FinetuneRequest) else ""

    @property
    def objective(self) -> str:
        """What training learns by; "supervised" for whatever is not a pretraining run."""
        return self.request.objective if isinstance(self.request, PretrainRequest) else "supervised"

    @property
    def finetune_request(self) -> FinetuneRequest:
        """The request of a fine-tuning run. TypeError for another kind."""
        return self._request_of(FinetuneRequest)

    @property
    def pretrain_request(self) -> PretrainRequest:
        """The request of a pretraining run. TypeError for another kind."""
        return self._request_of(PretrainRequest)

    @property
    def interpolate_request(self) -> InterpolateRequest:
        """The request of an interpolation. TypeError for another kind."""
        return self._request_of(InterpolateRequest)

    @property
    def blend_request(self) -> BlendRequest:
        """The request of a blend. TypeError for another kind."""
        return self._request_of(BlendRequest)

    @property
    def target_rows(self) -> int:
        """How many target rows it used; 0 for all, and for runs that take no subset."""
        request = self.request
        return request.target_rows if isinstance(request, FinetuneRequest | BlendRequest) else 0

    @property
    def window(self) -> Window | None:
        """The window of the target rows that it trained on; None where it is on none."""
        return self.request.window if isinstance(self.request, FinetuneRequest) else None

    def _request_of(self, kind: type[T]) -> T:
        if not isinstance(self.request, kind):
            raise TypeError(
                f"run {self.id} is of the kind {self.kind!r}; its request is not a {kind.__name__}"
            )
        return self.request


@dataclass(frozen=True)
class RunLabel:
    """What names a run, also where its request is damaged, so that it can be deleted."""

    id: str
    name: str
    status: str


@dataclass(frozen=True)
class ValidationSummary:
    """A run's validation metrics over its epochs: log loss in nats, and AUC."""

    best_loss: float | None = None
    last_loss: float | None = None
    best_auc: float | None = None
    last_auc: float | None = None


def run_to_json(run: Run) -> dict[str, Any]:
    """The run as JSON-ready data, as `--json` has it."""
    names = [one.name for one in dataclasses.fields(run)]
    values = {_JSON_NAMES.get(name, name): to_json(getattr(run, name)) for name in names}
    result = None if run.result is None else result_to_json(run.result)
    return values | {"request": request_to_json(run.request), "result": result}


def run_from_row(row: sqlite3.Row) -> Run:
    """The run of a whole row of the table.

    A run whose result is damaged has failed, with a message that says so.

    Raises:
        Damaged: the request is damaged, without which there is nothing to show or to run.
    """
    values = {_FIELDS.get(name, name): value for name, value in dict(row).items()}
    stored = values.pop("result")
    try:
        if values["status"] not in STATUSES:
            raise ValueError(f"its status is {str(values['status'])[:40]!r}")
        values["request"] = request_from_json(_parse_object(values["request"], "request"))
        values["tags"] = _parse_tags(values["tags"])
        check_timestamp(values["created"], "created")
    except (BadInput, ValueError, TypeError, RecursionError) as error:
        raise Damaged(
            f"The run {values['id']!r} ({str(values['name'])[:80]}) in the run store is damaged:"
            f" {str(error).rstrip('.')}. Put a copy of thaw.sqlite in its place; the run is left"
            " out until then, and all others are as they were."
        ) from error
    run = Run(**values, result=None)
    if not stored:
        return run
    try:
        return dataclasses.replace(run, result=result_from_json(_parse_object(stored, "result")))
    except (ValueError, TypeError, RecursionError) as error:
        message = (
            f"The result that the run store holds of this run is damaged: {error}. Put a copy of"
            " thaw.sqlite in its place, or launch the same run again."
        )
        return dataclasses.replace(run, status="failed", message=message)


def _parse_object(text: object, what: str) -> dict[str, Any]:
    """The JSON object in `text`; ValueError where there is none."""
    values = parse_json(str(text))
    if not isinstance(values, dict):
        raise ValueError(f"its {what} is not an object")
    return values


def _parse_tags(text: object) -> tuple[str, ...]:
    tags = json.loads(str(text))
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise ValueError("its tags are not a list of words")
    return tuple(tags)
