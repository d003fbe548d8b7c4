"""The backbones at hand: those bundled with Thaw and those pretrained in the workspace."""

from core.errors import BadInput
from core.models.card import BackboneCard, load_card
from core.workspace import BUNDLED_BACKBONES, Workspace


def list_backbones(workspace: Workspace) -> list[BackboneCard]:
    """Every backbone: the workspace's own, newest first, then the bundled ones by name."""
    own = [load_card(path.parent) for path in workspace.backbones.glob("*/card.json")]
    bundled = [load_card(path.parent) for path in BUNDLED_BACKBONES.glob("*/card.json")]
    return sorted(own, key=lambda card: card.created, reverse=True) + sorted(bundled, key=lambda card: card.name)


def find_backbone(workspace: Workspace, name_or_id: str) -> BackboneCard:
    """The backbone of that id, else the newest of that name; BadInput lists the names there are."""
    cards = list_backbones(workspace)
    for field in ("id", "name"):
        for card in cards:
            if getattr(card, field) == name_or_id:
                return card
    raise BadInput(
        f"There is no backbone {name_or_id!r}; the backbones here are {sorted({card.name for card in cards})}."
    )
