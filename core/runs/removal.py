"""Removing a backbone, unless a run still needs it."""

import shutil

from core.access import require_writable
from core.errors import BadInput
from core.models.card import BackboneCard
from core.runs.store import RunStore
from core.workspace import Workspace


def delete_backbone(workspace: Workspace, card: BackboneCard) -> None:
    """Removes one of the workspace's own backbones; BadInput while a run that fine-tunes it waits or runs."""
    require_writable()
    if card.bundled:
        raise BadInput(f"The backbone {card.name!r} comes with Thaw and cannot be deleted.")
    waiting = [run for run in RunStore(workspace).list() if run.active and run.request.get("backbone") == card.id]
    if waiting:
        raise BadInput(
            f"The backbone {card.name!r} is being fine-tuned by {len(waiting)} run(s), such as {waiting[0].name!r}; "
            "cancel them or wait for their end."
        )
    shutil.rmtree(workspace.backbones / card.id)
