"""A small backbone to export, and its exported members."""

import shutil
from pathlib import Path

import pytest

from core.models.card import BackboneCard
from core.models.exchange import MEMBER_SIZE_LIMITS
from core.workspace import open_workspace
from tests.core.models.exchange_files import Files, stored_backbone


@pytest.fixture(scope="module")
def origin(tiny_template: Path, tmp_path_factory: pytest.TempPathFactory) -> BackboneCard:
    """A small DNN in a workspace of its own."""
    from core.data.datasets import find_dataset

    root = shutil.copytree(tiny_template, tmp_path_factory.mktemp("origin") / "workspace")
    workspace = open_workspace(root)
    return stored_backbone(workspace, find_dataset(workspace, "tiny"))


@pytest.fixture
def files(origin: BackboneCard) -> Files:
    """The exported members by name."""
    return {name: (origin.folder / name).read_bytes() for name in MEMBER_SIZE_LIMITS}
