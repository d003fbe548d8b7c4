"""The network that fine-tuning starts from: the backbone, or the model of an earlier run."""

from core.errors import BadInput
from core.jobs.predictions import DAMAGE_ADVICE
from core.jobs.requests import FinetuneRequest
from core.jobs.store import Run, RunStore
from core.models.backbone_store import load_complete_card
from core.models.card import BackboneCard
from core.workspace import Workspace

WAITS_FOR_WINDOW = "waiting for the window before"
"""Phase of a queued run that goes on from the model of a run that is not done yet."""


def find_start_card(
    workspace: Workspace, request: FinetuneRequest, backbone: BackboneCard
) -> BackboneCard:
    """Return the card of the model that training goes on from.

    Args:
        workspace: of the request.
        request: names the run on the window before, or none.
        backbone: its backbone, which training starts from where it names none.

    Raises:
        BadInput: that run is not done or was deleted.
        Damaged: the files of its model are incomplete.
    """
    if not request.start_run:
        return backbone
    require_start_run(workspace, request)
    return load_complete_card(workspace.runs / request.start_run / "model", DAMAGE_ADVICE)


def require_start_run(workspace: Workspace, request: FinetuneRequest) -> Run:
    """Return the run whose model training goes on from; BadInput if there is no such model."""
    assert request.window is not None
    before = f"window {request.window.number - 1}"
    try:
        run = RunStore(workspace).get(request.start_run)
    except BadInput as error:
        raise BadInput(
            f"Run {request.start_run} on {before} was deleted, so there is no model to go on from;"
            " start the sweep again."
        ) from error
    if run.status != "done":
        why = f" ({run.message.rstrip('.')})" if run.message else ""
        raise BadInput(
            f"Run {run.id} on {before} is {run.status}{why}, so there is no model to go on from;"
            " resume the sweep, which runs the windows in their order."
        )
    return run


def waits_for_start_run(workspace: Workspace, run: Run) -> bool:
    """Return whether the run goes on from the model of another one that waits or runs."""
    request = run.request
    if not isinstance(request, FinetuneRequest) or not request.start_run:
        return False
    try:
        return RunStore(workspace, create=False).get(request.start_run).active
    except BadInput:
        return False
