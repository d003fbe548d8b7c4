"""A backbone with rows to train on, and its training with a new head."""

from pathlib import Path

import torch

from core.freezing.plan import make_plan
from core.jobs.requests import TrainSettings
from core.models.backbone import load_backbone
from core.models.card import BackboneCard, HeadSettings
from core.models.network import Network
from core.training import loop
from core.training.batches import RowTensors
from core.training.loop import fit
from tests.core.training.helpers import ListReporter

Setup = tuple[BackboneCard, RowTensors, RowTensors]
"""A backbone, its training rows and its validation rows."""


def run(
    setup: Setup, path: Path, settings: TrainSettings, reporter: ListReporter, depth: int = 1
) -> tuple[Network, loop.FitResult]:
    card, train, validation = setup
    torch.manual_seed(settings.seed)
    network = load_backbone(card)
    network.replace_head(HeadSettings())
    plan = make_plan(card, "depth", depth, HeadSettings())
    return network, fit(network, plan, train, validation, settings, reporter, path)


def same(a: Network, b: Network) -> bool:
    return all(
        torch.equal(x, y)
        for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )
