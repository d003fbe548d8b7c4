"""A small pretrained backbone, and runs of any strategy on it."""

import dataclasses
from pathlib import Path

import torch
from torch import Tensor

from core.data.datasets import Dataset, select_training_rows
from core.freezing.plan import Plan, make_plan
from core.freezing.strategies import STRATEGIES
from core.jobs.requests import TrainSettings
from core.models.backbone import load_backbone
from core.models.card import BackboneCard, HeadSettings
from core.models.network import Network
from core.training.batches import RowTensors
from core.training.loop import FitResult, fit
from core.training.losses import ClickTask
from core.training.training_rows import TrainingRows, apply_frozen_prefix
from core.workspace import Workspace
from tests.core.training.helpers import CPU, ListReporter

HEAD = HeadSettings()
OPTIONS: dict[str, dict[str, object]] = {
    "surgical": {"stages": ("block1",)},
    "lp-ft": {"probe_epochs": 1},
    "lora": {"rank": 2},
    "l2-sp": {"pull": 0.1},
}
TRAINING = [name for name, one in STRATEGIES.items() if not one.control]


class WeightSpy(ClickTask):
    """Learns clicks and keeps a copy of the weights before every step."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Tensor]] = []

    def loss(self, network: Network, rows: RowTensors, batch: Tensor, step: int) -> Tensor:
        self.seen.append(
            {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
        )
        return super().loss(network, rows, batch, step)


@dataclasses.dataclass
class StrategySetup:
    workspace: Workspace
    dataset: Dataset
    card: BackboneCard
    table: TrainingRows
    train: RowTensors
    validation: RowTensors

    def network(self, keep_head: bool = False) -> Network:
        torch.manual_seed(0)
        network = load_backbone(self.card)
        if not keep_head:
            network.replace_head(HEAD)
        return network

    def plan(self, strategy: str, keep_head: bool = False) -> Plan:
        return make_plan(self.card, strategy, 1, HEAD, OPTIONS.get(strategy), keep_head)

    def run(
        self,
        strategy: str,
        path: Path,
        settings: TrainSettings,
        reporter: ListReporter,
        task: ClickTask | None = None,
        keep_head: bool = False,
    ) -> tuple[Network, FitResult]:
        network = self.network(keep_head)
        plan = self.plan(strategy, keep_head)
        return network, fit(
            network,
            plan,
            self.train,
            self.validation,
            settings,
            reporter,
            path,
            task or ClickTask(),
        )

    def run_after_prefix(
        self, strategy: str, path: Path, settings: TrainSettings, reporter: ListReporter
    ) -> tuple[Network, list[int]]:
        """Return the network trained from cached stage outputs, and the depths of the caches."""
        network, depths = self.network(), []

        def rows_after_prefix(depth: int) -> tuple[RowTensors, RowTensors]:
            depths.append(depth)
            rows = apply_frozen_prefix(self.workspace, network, depth, self.table, "key")
            assert rows.first_stage == depth
            train, validation = select_training_rows(self.dataset, "target", None)
            return rows.take(train, CPU), rows.take(validation, CPU)

        fit(
            network,
            self.plan(strategy),
            self.train,
            self.validation,
            settings,
            reporter,
            path,
            rows_after_prefix=rows_after_prefix,
        )
        return network, depths
