"""Adapters, rates and schedules compared with closed forms, and every strategy with its plan."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from core.data.datasets import Dataset, select_training_rows
from core.freezing.plan import Plan, make_plan
from core.freezing.strategies import STRATEGIES
from core.jobs.requests import TrainSettings
from core.models.backbone import build_network, load_backbone
from core.models.card import BackboneCard, HeadSettings
from core.models.network import Network, biases_and_norms
from core.training.batches import RowTensors, epoch_batches
from core.training.checkpoint import RENAMED_FIELDS, RENAMED_PARAMETERS
from core.training.gradient_norms import relative_gradient_norms, update_autofreeze_depth
from core.training.loop import CancelledError, FitResult, fit
from core.training.lora import LoRALinear, add_lora, merge_lora
from core.training.losses import ClickTask
from core.training.param_groups import L2SPPenalty, parameter_groups, reset_embeddings
from core.training.training_rows import TrainingRows, apply_frozen_prefix, load_rows
from core.workspace import Workspace
from tests.core.models.references import SMALL
from tests.core.training.helpers import CPU, QUICK, ListReporter, pretrained, target_rows

HEAD = HeadSettings()
OPTIONS: dict[str, dict[str, object]] = {
    "surgical": {"stages": ("block1",)},
    "lp-ft": {"probe_epochs": 1},
    "lora": {"rank": 2},
    "l2-sp": {"pull": 0.1},
}
TRAINING = [name for name in STRATEGIES if name not in ("zero-shot", "scratch")]


class Spy(ClickTask):
    """Learns clicks and keeps a copy of the weights before every step."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Tensor]] = []

    def loss(self, network: Network, rows: RowTensors, batch: Tensor, step: int) -> Tensor:
        self.seen.append(
            {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
        )
        return super().loss(network, rows, batch, step)


@dataclasses.dataclass
class Setup:
    workspace: Workspace
    dataset: Dataset
    card: BackboneCard
    table: TrainingRows
    train: RowTensors
    validation: RowTensors

    def network(self) -> Network:
        torch.manual_seed(0)
        network = load_backbone(self.card)
        network.replace_head(HEAD)
        return network

    def plan(self, strategy: str) -> Plan:
        return make_plan(self.card, strategy, 1, HEAD, OPTIONS.get(strategy))

    def run(
        self,
        strategy: str,
        path: Path,
        settings: TrainSettings,
        reporter: ListReporter,
        task: ClickTask | None = None,
    ) -> tuple[Network, FitResult]:
        network = self.network()
        plan = self.plan(strategy)
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


@pytest.fixture
def setup(tiny: tuple[Workspace, Dataset]) -> Setup:
    workspace, dataset = tiny
    card = pretrained(workspace, "dcnv2")
    folder = card.folder / "preprocessing"
    table = load_rows(workspace, dataset, folder, ("target_train", "target_validation"))
    return Setup(workspace, dataset, card, table, *target_rows(workspace, dataset, folder))


@pytest.mark.parametrize("strategy", TRAINING)
def test_every_strategy_trains_what_its_plan_announces(
    strategy: str, setup: Setup, tmp_path: Path
) -> None:
    before = {name: tensor.clone() for name, tensor in setup.network().state_dict().items()}
    settings = dataclasses.replace(QUICK, epochs=7, batch_size=512)
    plan = setup.plan(strategy)
    network, result = setup.run(strategy, tmp_path / "c.pt", settings, ListReporter())
    assert result.epochs_run == 7
    after = network.state_dict()
    assert [*after] == [*before], "adapters are merged, nothing else is left behind"
    for index, stage in enumerate(plan.stages[:-1]):
        names = [name for name in before if name.startswith(f"stages.{index}.")]
        moved = [name for name in names if not torch.equal(after[name], before[name])]
        if stage.frozen:
            assert not moved
    fresh = setup.network()
    if plan.scope == "adapters":
        add_lora(fresh, plan)
    groups = parameter_groups(fresh, plan)
    counts = {group["stage"]: sum(one.numel() for one in group["params"]) for group in groups}
    assert counts == {
        i: stage.trained_parameters for i, stage in enumerate(plan.stages) if not stage.frozen
    }
    assert sum(counts.values()) == plan.trained_parameters


def test_stages_do_not_change_before_their_first_epoch(setup: Setup, tmp_path: Path) -> None:
    for strategy in ("gradual", "lp-ft"):
        spy = Spy()
        settings = dataclasses.replace(QUICK, epochs=len(setup.card.stages) + 1, batch_size=512)
        setup.run(strategy, tmp_path / f"{strategy}.pt", settings, ListReporter(), spy)
        each = len(epoch_batches(setup.train, settings, 0))
        for index, stage in enumerate(setup.plan(strategy).stages[:-1]):
            names = [
                name
                for name in spy.seen[0]
                if name.startswith(f"stages.{index}.") and "num_batches" not in name
            ]
            opened = stage.from_epoch * each
            for name in names:
                assert torch.equal(spy.seen[opened][name], spy.seen[0][name])
            assert any(
                not torch.equal(spy.seen[opened + 1][name], spy.seen[0][name]) for name in names
            )


def test_stages_that_start_to_train_later_are_computed_once(
    setup: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    strategy = "lp-ft"
    monkeypatch.setitem(OPTIONS, strategy, {"probe_epochs": 3})
    settings = dataclasses.replace(QUICK, epochs=6, batch_size=128)
    usual = ListReporter()
    network, _ = setup.run(strategy, tmp_path / "usual.pt", settings, usual)
    reporter, whole = ListReporter(), tmp_path / "whole.pt"
    cached, asked = setup.run_after_prefix(strategy, whole, settings, reporter)
    assert asked == [5, 0]
    for (name, a), b in zip(
        network.state_dict().items(), cached.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(b, a, rtol=1e-4, atol=1e-5, msg=name)
    losses = [
        [value for _, name, value in one.rows if name == "validation_loss"]
        for one in (usual, reporter)
    ]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)

    broken, each = tmp_path / "broken.pt", len(epoch_batches(setup.train, settings, 0))
    for stop in (each - 1, 2):
        # Within the first epoch, and just after the first stage has joined.
        with pytest.raises(CancelledError):
            setup.run_after_prefix(strategy, broken, settings, ListReporter(stop_at=stop))
    again, _ = setup.run_after_prefix(strategy, broken, settings, ListReporter())
    for a, b in zip(cached.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_the_first_adam_step_has_the_size_of_the_learning_rate(
    setup: Setup, tmp_path: Path
) -> None:
    spy = Spy()
    settings = dataclasses.replace(QUICK, epochs=1, batch_size=512, learning_rate=1e-3)
    setup.run("decay", tmp_path / "c.pt", settings, ListReporter(), spy)
    for index, stage in enumerate(setup.plan("decay").stages[:-1]):
        name = next(
            one
            for one in spy.seen[0]
            if one.startswith(f"stages.{index}.") and one.endswith("weight")
        )
        longest = (spy.seen[1][name] - spy.seen[0][name]).abs().max().item()
        # Where the gradient dwarfs Adam's epsilon, its first step is the learning rate.
        assert longest == pytest.approx(1e-3 * stage.lr_scale, rel=1e-2)
        assert stage.lr_scale == pytest.approx(0.65 ** (len(setup.card.stages) - index))


def test_bitfit_trains_only_biases_and_norms(setup: Setup, tmp_path: Path) -> None:
    before = setup.network().state_dict()
    network, _ = setup.run("bitfit", tmp_path / "c.pt", QUICK, ListReporter())
    allowed = {id(one) for stage in network.stages for one in biases_and_norms(stage)}
    moved = [
        name
        for name, one in network.named_parameters()
        if not name.startswith("head") and not torch.equal(one, before[name])
    ]
    assert moved
    assert all(id(network.get_parameter(name)) in allowed for name in moved)
    assert any(name.endswith("linear.bias") for name in moved) and any(
        "layers.1." in name for name in moved
    )


def test_lora_starts_at_the_layer_and_merges_to_equal_outputs(setup: Setup, tmp_path: Path) -> None:
    network = setup.network().eval()
    state = tuple(tensor[:50] for tensor in setup.train.state)
    with torch.no_grad():
        before = network(state)
        add_lora(network, setup.plan("lora"))
        assert torch.equal(network(state), before)
        for part in network.modules():
            if isinstance(part, LoRALinear):
                nn.init.normal_(part.lora_B, std=0.1)
        adapted = network(state)
        merge_lora(network)
        assert not any(isinstance(part, LoRALinear) for part in network.modules())
        torch.testing.assert_close(network(state), adapted, rtol=1e-4, atol=1e-5)
    before_training = setup.network().state_dict()
    settings = dataclasses.replace(QUICK, epochs=6, learning_rate=1e-2)
    trained, result = setup.run("lora", tmp_path / "c.pt", settings, ListReporter())
    assert result.best_epoch > 0
    change = (
        trained.state_dict()["stages.1.linear.weight"] - before_training["stages.1.linear.weight"]
    ).double()
    singular = torch.linalg.svdvals(change)
    assert singular[1] > 0 and singular[2] < 1e-4 * singular[0]


def test_l2_sp_is_half_the_squared_distance_and_its_gradient_the_distance(setup: Setup) -> None:
    network = setup.network()
    plan = setup.plan("l2-sp")
    pull = L2SPPenalty(parameter_groups(network, plan), len(network.stages), plan.l2_sp)
    assert pull.penalty().item() == 0
    head = network.head.get_submodule("layers.0").get_parameter("weight")
    weight = network.stages[1].get_parameter("linear.weight")
    began = weight.detach().clone()
    with torch.no_grad():
        weight.add_(0.01 * torch.randn_like(weight))
        head.add_(1)
    penalty = pull.penalty()
    distance = (weight - began).detach().double()
    assert penalty.item() == pytest.approx(0.05 * float((distance**2).sum()), rel=1e-4)
    penalty.backward()
    assert weight.grad is not None and head.grad is None
    torch.testing.assert_close(weight.grad.double(), 0.1 * distance, rtol=1e-4, atol=1e-7)


def test_a_strong_l2_sp_penalty_keeps_the_backbone(setup: Setup, tmp_path: Path) -> None:
    began = setup.network().state_dict()["stages.1.linear.weight"]
    moved = {}
    for strength in (1e-6, 10):
        plan = make_plan(setup.card, "l2-sp", 0, HEAD, {"pull": strength})
        network = setup.network()
        fit(
            network,
            plan,
            setup.train,
            setup.validation,
            QUICK,
            ListReporter(),
            tmp_path / f"{strength}.pt",
        )
        moved[strength] = float((network.state_dict()["stages.1.linear.weight"] - began).norm())
    assert moved[10] < 0.5 * moved[1e-6]


def test_only_embeddings_are_reset_each_epoch(setup: Setup, tmp_path: Path) -> None:
    spy = Spy()
    settings = dataclasses.replace(QUICK, epochs=3, batch_size=512)
    setup.run("meda", tmp_path / "c.pt", settings, ListReporter(), spy)
    each = len(epoch_batches(setup.train, settings, 0))
    tables = [spy.seen[epoch * each]["stages.0.table.weight"] for epoch in range(3)]
    for epoch, table in enumerate(tables):
        fresh = setup.network()
        reset_embeddings(fresh, epoch)
        assert torch.equal(table, fresh.state_dict()["stages.0.table.weight"])
    assert table.std().item() == pytest.approx(0.01, rel=0.05) and not torch.equal(
        tables[0], tables[1]
    )
    fresh = setup.network()
    random = torch.get_rng_state()
    reset_embeddings(fresh, 5)
    assert torch.equal(torch.get_rng_state(), random)


def test_auto_rgn_is_gradient_over_weight_norm_scaled_to_one(setup: Setup) -> None:
    network = setup.network().eval()
    groups = parameter_groups(network, setup.plan("auto-rgn"))
    ClickTask().loss(network, setup.train, torch.arange(100), 0).backward()
    expected = []
    for group in groups:
        gradient = np.concatenate(
            [one.grad.numpy().ravel() for one in group["params"] if one.grad is not None]
        )
        weight = np.concatenate([one.detach().numpy().ravel() for one in group["params"]])
        expected.append(np.linalg.norm(gradient) / np.linalg.norm(weight))
    np.testing.assert_allclose(
        relative_gradient_norms(groups), np.array(expected) / max(expected), rtol=1e-5
    )


@pytest.mark.parametrize(
    ("before", "now", "closed", "expected"),
    [
        ([1, 1, 1, 1], [1.0, 1.1, 1.5, 1.9], 0, 2),
        ([1, 1, 1, 1], [1.9, 1.1, 1.0, 1.0], 0, 0),
        ([2, 1, 1], [9, 1.1, 1.5], 1, 2),
        ([1], [3], 0, 1),
        ([1, 1], [1, 1], 2, 2),
    ],
)
def test_autofreeze_freezes_leading_stages_at_or_below_the_median(
    before: list[float], now: list[float], closed: int, expected: int
) -> None:
    assert update_autofreeze_depth(before, now, closed) == expected


def test_stages_that_autofreeze_froze_never_change_again(setup: Setup, tmp_path: Path) -> None:
    spy, reporter = Spy(), ListReporter()
    settings = dataclasses.replace(QUICK, epochs=10, batch_size=512)
    setup.run("autofreeze", tmp_path / "c.pt", settings, reporter, spy)
    each = len(epoch_batches(setup.train, settings, 0))
    closed = [int(value) for _, name, value in reporter.rows if name == "frozen_stages"]
    assert closed[0] == 0 and closed == sorted(closed) and closed[-1] > 0
    epoch = next(index for index, value in enumerate(closed) if value)
    if (epoch + 1) * each < len(spy.seen):
        frozen = spy.seen[(epoch + 1) * each]
        for name in [one for one in frozen if one.startswith("stages.0.")]:
            assert torch.equal(frozen[name], spy.seen[-1][name])
        assert not torch.equal(frozen["head.layers.0.weight"], spy.seen[-1]["head.layers.0.weight"])


@pytest.mark.parametrize("strategy", ["gradual", "auto-rgn", "l2-sp", "lora", "meda", "autofreeze"])
def test_a_resumed_run_ends_like_an_uninterrupted_one(
    strategy: str, setup: Setup, tmp_path: Path
) -> None:
    settings = dataclasses.replace(QUICK, epochs=6, batch_size=512)
    whole, _ = setup.run(strategy, tmp_path / "whole.pt", settings, ListReporter())
    path = tmp_path / "broken.pt"
    with pytest.raises(CancelledError):
        setup.run(strategy, path, settings, ListReporter(stop_at=9))
    again, _ = setup.run(strategy, path, settings, ListReporter())
    for a, b in zip(whole.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("strategy", ["auto-rgn", "lora", "autofreeze"])
def test_a_checkpoint_of_version_0_11_ends_like_an_uninterrupted_run(
    strategy: str, setup: Setup, tmp_path: Path
) -> None:
    settings = dataclasses.replace(QUICK, epochs=6, batch_size=512)
    whole, _ = setup.run(strategy, tmp_path / "whole.pt", settings, ListReporter())
    path = tmp_path / "broken.pt"
    with pytest.raises(CancelledError):
        setup.run(strategy, path, settings, ListReporter(stop_at=9))
    write_as_version_0_11(path)
    again, _ = setup.run(strategy, path, settings, ListReporter())
    for a, b in zip(whole.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def write_as_version_0_11(path: Path) -> None:
    """Rewrite a checkpoint with the names that version 0.11 gave to its entries."""
    values = torch.load(path, weights_only=True)
    old_fields = {new: old for old, new in RENAMED_FIELDS.items()}
    progress = {old_fields.get(name, name): one for name, one in values["progress"].items()}
    assert {"rate", "closed", "norms", "norms_before"} <= progress.keys()

    def old_parameters(weights: dict[str, Tensor]) -> dict[str, Tensor]:
        for old, new in RENAMED_PARAMETERS.items():
            weights = {name.replace(new, old): tensor for name, tensor in weights.items()}
        return weights

    progress["best_weights"] = old_parameters(progress["best_weights"])
    for group in values["optimiser"]["param_groups"]:
        group["part"] = group.pop("lr_scale")
    network = old_parameters(values["network"])
    torch.save(values | {"progress": progress, "network": network}, path)


def test_every_click_model_can_reset_its_embeddings() -> None:
    for architecture in ("lr", "fm", "widedeep", "deepfm", "fttransformer", "autoint", "finalnet"):
        settings = {key: value for key, value in SMALL.items() if key in _defaults(architecture)}
        torch.manual_seed(3)
        network = build_network(architecture, settings, (5, 3, 7), HEAD)
        before = {name: tensor.clone() for name, tensor in network.stages[0].state_dict().items()}
        reset_embeddings(network, 1)
        after = network.stages[0].state_dict()
        assert not torch.equal(after["table.weight"], before["table.weight"])
        for name in ("first_order.weight", "wide.weight"):
            assert name not in after or not after[name].any()


def _defaults(architecture: str) -> dict[str, object]:
    from core.models.registry import ARCHITECTURES

    return ARCHITECTURES[architecture].defaults
