"""Fixtures of tests of training."""

import pytest

from core.data.datasets import Dataset
from core.training.training_rows import load_rows
from core.workspace import Workspace
from tests.core.training.helpers import pretrained, target_rows
from tests.core.training.strategy_setup import StrategySetup


@pytest.fixture
def strategy_setup(tiny: tuple[Workspace, Dataset]) -> StrategySetup:
    workspace, dataset = tiny
    card = pretrained(workspace, "dcnv2")
    folder = card.folder / "preprocessing"
    table = load_rows(workspace, dataset, folder, ("target_train", "target_validation"))
    return StrategySetup(workspace, dataset, card, table, *target_rows(workspace, dataset, folder))
