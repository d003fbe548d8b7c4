"""The network that a finished run ended with."""

from core.errors import BadInput
from core.freezing.strategies import has_own_model
from core.jobs.predictions import DAMAGE_ADVICE
from core.jobs.store import Run
from core.models.backbone_store import find_backbone, load_complete_card
from core.models.card import BackboneCard
from core.workspace import Workspace


def load_model_card(workspace: Workspace, run: Run) -> BackboneCard:
    """Return the card of the network that `run` ended with.

    Raises:
        BadInput: the run is not done, or is a blend.
        Damaged: the network's files are incomplete.
    """
    if run.status != "done" or run.result is None:
        raise BadInput(
            f"Run {run.id} is {run.status}, so it has no model; wait until it is done or pick"
            " another run."
        )
    if run.kind == "blend":
        members = ", ".join(run.blend_request.runs)
        raise BadInput(
            f"Run {run.id} is a blend, which has no network of its own; take one of its runs:"
            f" {members}."
        )
    if run.kind == "pretrain":
        return find_backbone(workspace, run.result.backbone)
    return load_complete_card(workspace.runs / run.id / "model", DAMAGE_ADVICE)


def load_start_card(workspace: Workspace, run: Run) -> BackboneCard:
    """Return the card of the backbone that `run` fine-tuned.

    Raises:
        BadInput: there is no such backbone any more, or it has other weights now.
    """
    assert run.result is not None
    card = find_backbone(workspace, run.result.backbone)
    recorded = run.result.backbone_sha256
    if recorded and recorded != card.weights_sha256:
        raise changed_backbone_error(card, run, card.weights_sha256, recorded)
    return card


def changed_backbone_error(card: BackboneCard, run: Run, now: str, then: str) -> BadInput:
    """Return the error that a run's backbone has other weights now than the run started from.

    Args:
        card: of the backbone.
        run: that fine-tuned it.
        now, then: SHA-256 of the weights.
    """
    advice = (
        "it comes with Thaw, and another version of Thaw brought the old ones; use that version,"
        " or launch the run again"
        if card.bundled
        else "put the old ones back"
    )
    return BadInput(
        f"The weights of the backbone {card.name!r} have changed since run {run.id}: their SHA-256"
        f" is {now[:12]}… and was {then[:12]}…; {advice}."
    )


def load_scoring_card(workspace: Workspace, run: Run) -> BackboneCard:
    """Return the card of the network that `run` ended with, if it scores clicks.

    Raises:
        BadInput: the run is not done, or the head was not trained on click labels.
    """
    card = load_model_card(workspace, run)
    if not card.scores_clicks:
        raise BadInput(
            f"Run {run.id} made the backbone {card.name!r}, whose head was never trained on "
            "click labels, so it cannot score rows; fine-tune the backbone and take that "
            "run."
        )
    return card


def describe_learner(workspace: Workspace, run: Run) -> str:
    """Say what fitted the model of a control, on which rows; "" for other runs and older ones."""
    if run.kind != "finetune" or run.status != "done" or not has_own_model(run.strategy):
        return ""
    trained_on = load_model_card(workspace, run).trained_on
    if "learner" not in trained_on:
        return ""
    return (
        f"Fitted by {trained_on['learner']}, on {trained_on['rows']:,}"
        f" {trained_on['domain']} rows of {trained_on['dataset']}."
    )
