"""Backbones can be deleted unless they are bundled or a run still needs them."""

import pytest

from core.data.datasets import Dataset
from core.errors import BadInput
from core.jobs.requests import FinetuneRequest
from core.jobs.store import RunStore
from core.models.backbone_store import find_backbone, list_backbones
from core.models.card import load_card
from core.runs.removal import delete_backbone
from core.workspace import Workspace
from tests.core.training.helpers import pretrained

Tiny = tuple[Workspace, Dataset]


def test_a_backbone_can_be_deleted_once_no_run_needs_it(tiny: Tiny) -> None:
    workspace, dataset = tiny
    card = load_card(pretrained(workspace, "dnn").folder)
    run = RunStore(workspace).submit(FinetuneRequest(dataset.id, card.id), "waiting for it", "cpu")
    with pytest.raises(BadInput, match="'waiting for it'"):
        delete_backbone(workspace, card)
    assert find_backbone(workspace, card.id)
    RunStore(workspace).request_cancel(run.id)
    delete_backbone(workspace, card)
    assert card.id not in {one.id for one in list_backbones(workspace)}
    assert not card.folder.exists()


def test_a_bundled_backbone_stays(workspace: Workspace) -> None:
    card = next(one for one in list_backbones(workspace) if one.bundled)
    with pytest.raises(BadInput, match="comes with Thaw"):
        delete_backbone(workspace, card)
    assert card.folder.exists()
