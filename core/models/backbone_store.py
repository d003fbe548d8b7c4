"""The available backbones: those bundled with Thaw and those pretrained in the workspace."""

from pathlib import Path

from core.data.integrity import find_backbone_fault
from core.errors import Damaged
from core.models.card import (
    CARD_FILE,
    PREPROCESSING_FILES,
    REPAIR_ADVICE,
    WEIGHTS_FILE,
    BackboneCard,
    load_card,
)
from core.models.registry import find_architecture
from core.names import find_by_name_or_id
from core.stored import check_files_intact, damaged_file_error, read_entries
from core.workspace import BUNDLED_BACKBONES, Workspace


def read_backbones(workspace: Workspace) -> tuple[list[BackboneCard], list[Damaged]]:
    """Every backbone that is complete, ordered as in `list_backbones`, and the damaged ones."""
    own, broken = read_entries(workspace.backbones, CARD_FILE, _load_workspace_card, "b-")
    bundled, missing = read_entries(BUNDLED_BACKBONES, CARD_FILE, load_complete_card)
    own = sorted(own, key=lambda card: card.created, reverse=True)
    return own + sorted(bundled, key=lambda card: card.name), broken + missing


def list_backbones(workspace: Workspace) -> list[BackboneCard]:
    """Every complete backbone: the workspace's, newest first, then the bundled ones by name."""
    return read_backbones(workspace)[0]


def find_backbone(workspace: Workspace, name_or_id: str) -> BackboneCard:
    """The backbone with that id, else the newest with that name.

    Raises:
        BadInput: there is none; the message lists the names there are.
        Damaged: the one with that id is damaged.
    """
    return find_by_name_or_id(*read_backbones(workspace), name_or_id, "backbone")


def _load_workspace_card(folder: Path) -> BackboneCard:
    card = load_complete_card(folder)
    if card.id != folder.name:
        raise damaged_file_error(
            folder / CARD_FILE, f"it describes the backbone {card.id[:40]!r}", REPAIR_ADVICE
        )
    return card


def load_complete_card(folder: Path, advice: str = REPAIR_ADVICE) -> BackboneCard:
    """Read the card in `folder` and check that all its files are there.

    Raises:
        Damaged: the card or a file beside it is missing or damaged; the message ends with `advice`.
    """
    card = load_card(folder, advice)
    if find_architecture(card.architecture) is None:
        why = (
            f"its architecture is {card.architecture[:40]!r}, which this version of Thaw does not"
            " know"
        )
        raise damaged_file_error(folder / CARD_FILE, why, advice)
    advice = advice.replace("the backbone", f"the backbone {card.name!r}")
    check_files_intact(
        folder, (WEIGHTS_FILE, *PREPROCESSING_FILES), lambda: find_backbone_fault(folder), advice
    )
    return card
