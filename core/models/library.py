"""The backbones at hand: those bundled with Thaw and those pretrained in the workspace."""

from pathlib import Path

from core.data.wholeness import backbone_fault
from core.errors import Damaged
from core.models.card import ADVICE, FILE, PREPROCESSING, WEIGHTS, BackboneCard, load_card
from core.models.registry import ARCHITECTURES
from core.named import found_among
from core.stored import check_whole, damaged, read_entries
from core.workspace import BUNDLED_BACKBONES, Workspace


def read_backbones(workspace: Workspace) -> tuple[list[BackboneCard], list[Damaged]]:
    """(every backbone that is whole, in the order of `list_backbones`; what is damaged)."""
    own, broken = read_entries(workspace.backbones, FILE, _load_own, "b-")
    bundled, missing = read_entries(BUNDLED_BACKBONES, FILE, load_whole)
    own = sorted(own, key=lambda card: card.created, reverse=True)
    return own + sorted(bundled, key=lambda card: card.name), broken + missing


def list_backbones(workspace: Workspace) -> list[BackboneCard]:
    """Every backbone that is whole: the workspace's own, newest first, then the bundled ones by
    name."""
    return read_backbones(workspace)[0]


def find_backbone(workspace: Workspace, name_or_id: str) -> BackboneCard:
    """The backbone of that id, else the newest of that name; BadInput lists the names there are."""
    return found_among(*read_backbones(workspace), name_or_id, "backbone")


def _load_own(folder: Path) -> BackboneCard:
    card = load_whole(folder)
    if card.id != folder.name:
        raise damaged(folder / FILE, f"it describes the backbone {card.id[:40]!r}", ADVICE)
    return card


def load_whole(folder: Path, advice: str = ADVICE) -> BackboneCard:
    """The card in `folder`, with all that belongs to it beside it; else `Damaged`. advice: see
    core.stored.damaged."""
    card = load_card(folder, advice)
    if card.architecture not in ARCHITECTURES:
        why = f"its architecture is {card.architecture[:40]!r}, which this Thaw does not know"
        raise damaged(folder / FILE, why, advice)
    advice = advice.replace("the backbone", f"the backbone {card.name!r}")
    check_whole(folder, (WEIGHTS, *PREPROCESSING), lambda: backbone_fault(folder), advice)
    return card
