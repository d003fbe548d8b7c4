"""Training by replayed passes and from rows in main memory, against plain training: every
strategy's kind of plan."""

import dataclasses
import warnings
from pathlib import Path

import pytest
import torch

from core.data.datasets import Dataset
from core.errors import RunError
from core.freezing.plan import make_plan
from core.models.backbone import load_backbone
from core.models.card import BackboneCard, HeadSettings
from core.models.layers import Linear, uses_padding
from core.models.network import Network
from core.training import lazy_adam, loop
from core.training.batches import RowTensors
from core.training.cuda_graph import WARMUP_STEPS, CudaGraphStep
from core.training.lazy_adam import LazyAdamW
from core.training.loop import CancelledError, fit
from core.workspace import Workspace
from tests.core.training.helpers import QUICK, ListReporter, pretrained, target_rows
from tests.optional import on_gpu

Setup = tuple[BackboneCard, RowTensors, RowTensors]
STRATEGIES = ["depth", "lp-ft", "gradual", "autofreeze", "auto-rgn", "l2-sp", "lora", "meda"]
SETTINGS = dataclasses.replace(QUICK, epochs=3, batch_size=100, ema=True, validations_per_epoch=2)


@pytest.fixture
def setup(tiny: tuple[Workspace, Dataset]) -> Setup:
    workspace, dataset = tiny
    card = pretrained(workspace, "dnn")
    return card, *target_rows(workspace, dataset, card.folder / "preprocessing")


def trained(
    setup: Setup,
    strategy: str,
    path: Path,
    device: str = "cpu",
    stop_at: int | None = None,
    resident: bool = True,
) -> tuple[Network, ListReporter]:
    card, *parts = setup
    torch.manual_seed(0)
    network = load_backbone(card)
    network.replace_head(HeadSettings())
    network.to(device)
    options = {"probe_epochs": 1} if strategy == "lp-ft" else {}
    plan = make_plan(card, strategy, 1, HeadSettings(), options)
    where = device if resident else "cpu"
    train, validation = (
        RowTensors(
            tuple(one.to(where) for one in part.state), part.labels.to(where), resident=resident
        )
        for part in parts
    )
    reporter = ListReporter(stop_at)
    fit(network, plan, train, validation, SETTINGS, reporter, path)
    return network, reporter


def assert_same(
    one: tuple[Network, ListReporter], other: tuple[Network, ListReporter], within: float
) -> None:
    for a, b in zip(one[0].state_dict().values(), other[0].state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=within)
    points = [[row for row in result[1].rows if row[1] != "seconds"] for result in (one, other)]
    assert [row[:2] for row in points[0]] == [row[:2] for row in points[1]]
    assert [row[2] for row in points[0]] == pytest.approx([row[2] for row in points[1]], abs=within)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_replayed_passes_train_as_plain_ones_do(
    setup: Setup, strategy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dropout and BatchNorm are in the backbone; a last batch is smaller than the others."""
    assert len(setup[1]) % SETTINGS.batch_size
    plain = trained(setup, strategy, tmp_path / "plain.pt")
    replayed: list[int] = []
    call = CudaGraphStep.__call__

    def counted(self: CudaGraphStep, rows: RowTensors, batch: torch.Tensor) -> torch.Tensor:
        replayed.append(len(batch))
        return call(self, rows, batch)

    monkeypatch.setattr(CudaGraphStep, "__call__", counted)
    monkeypatch.setattr(loop, "GRAPH_DEVICES", ("cpu",))
    assert_same(plain, trained(setup, strategy, tmp_path / "replayed.pt"), 0.0)
    assert len(replayed) == SETTINGS.epochs * (len(setup[1]) // SETTINGS.batch_size)

    with pytest.raises(CancelledError):
        trained(setup, strategy, tmp_path / "broken.pt", stop_at=len(replayed) // 2)
    resumed = trained(setup, strategy, tmp_path / "broken.pt")
    assert_same((plain[0], ListReporter()), (resumed[0], ListReporter()), 0.0)


@pytest.mark.parametrize("strategy", ["depth", "auto-rgn"])
def test_rows_in_main_memory_train_as_resident_ones_do(
    setup: Setup, strategy: str, tmp_path: Path
) -> None:
    resident = trained(setup, strategy, tmp_path / "resident.pt")
    assert_same(resident, trained(setup, strategy, tmp_path / "away.pt", resident=False), 0.0)


@on_gpu
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_gpu_replays_every_pass_with_the_same_result(
    setup: Setup, strategy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        recorded = trained(setup, strategy, tmp_path / "recorded.pt", "cuda")
        away = trained(setup, strategy, tmp_path / "away.pt", "cuda", resident=False)
    monkeypatch.setattr(loop, "GRAPH_DEVICES", ())
    plain = trained(setup, strategy, tmp_path / "plain.pt", "cuda")
    assert_same(plain, recorded, 1e-3)
    assert_same(plain, away, 1e-3)


@on_gpu
@pytest.mark.parametrize("strategy", ["depth", "gradual"])
def test_a_run_that_is_stopped_on_a_gpu_resumes_bit_for_bit(
    setup: Setup, strategy: str, tmp_path: Path
) -> None:
    """The steps after the checkpoint run kernel by kernel until they are captured anew."""
    whole = trained(setup, strategy, tmp_path / "whole.pt", "cuda")
    steps = SETTINGS.epochs * (len(setup[1]) // SETTINGS.batch_size)
    with pytest.raises(CancelledError):
        trained(setup, strategy, tmp_path / "broken.pt", "cuda", stop_at=steps // 2)
    resumed = trained(setup, strategy, tmp_path / "broken.pt", "cuda")
    assert_same((whole[0], ListReporter()), (resumed[0], ListReporter()), 0.0)


@on_gpu
def test_two_trainings_on_a_gpu_are_the_same_bit_for_bit(setup: Setup, tmp_path: Path) -> None:
    one, other = (trained(setup, "depth", tmp_path / f"{number}.pt", "cuda") for number in (1, 2))
    assert_same(one, other, 0.0)


@on_gpu
def test_a_nan_loss_on_a_gpu_gives_a_message(setup: Setup, tmp_path: Path) -> None:
    card, train, validation = setup
    broken = dataclasses.replace(train, state=(train.state[0], train.state[1] * float("inf")))
    with pytest.raises(RunError, match="lower the learning rate"):
        trained((card, broken, validation), "depth", tmp_path / "c.pt", "cuda")


@on_gpu
@pytest.mark.parametrize("amp", [False, True])
def test_padded_products_on_a_gpu_are_those_of_double_precision(amp: bool) -> None:
    torch.manual_seed(0)
    layer = Linear(637, 401).cuda()
    plain = torch.nn.Linear(637, 401).double().cuda()
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(512, 637, device="cuda", requires_grad=True)
    exact = x.detach().double().requires_grad_()
    assert uses_padding(x, layer.weight)
    with torch.autocast("cuda", dtype=torch.bfloat16, enabled=amp):
        found = layer(x)
    expected = plain(exact)
    weights = torch.randn_like(expected)
    (found.double() * weights).sum().backward()
    (expected * weights).sum().backward()
    pairs = [(found, expected), (x.grad, exact.grad)]
    pairs += [
        (one.grad, other.grad)
        for one, other in zip(layer.parameters(), plain.parameters(), strict=True)
    ]
    for one, other in pairs:
        assert one is not None and other is not None
        assert float((one.double() - other).norm() / other.norm()) < (1e-2 if amp else 1e-5)


def test_learning_rates_on_the_device_and_merged_groups_step_as_torchs_adamw(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lazy_adam, "RATE_DEVICES", ("cpu",))
    torch.manual_seed(0)
    ours = [torch.nn.Parameter(torch.randn(5, 3)) for _ in range(4)]
    theirs = [torch.nn.Parameter(one.detach().clone()) for one in ours]

    def groups(parameters: list[torch.nn.Parameter]) -> list[dict[str, object]]:
        return [
            {"params": [one], "lr_scale": scale, "weight_decay": decay}
            for one, scale, decay in zip(
                parameters, (1.0, 1.0, 0.5, 1.0), (0.1, 0.1, 0.1, 0.0), strict=True
            )
        ]

    lazy = LazyAdamW(groups(ours), fused=True)
    reference = torch.optim.AdamW(groups(theirs), fused=True)
    for rate in (1e-2, 1e-2, 3e-3):
        for optimiser in (lazy, reference):
            for group in optimiser.param_groups:
                group["lr"] = rate * group["lr_scale"]
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn_like(one)
            other.grad = one.grad.clone()
        lazy.step()
        reference.step()
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)
    assert len(lazy.layout()[0]) == 3  # type: ignore[index]
    # What torch stores, this optimiser goes on from, and the other way round.
    lazy.load_state_dict(reference.state_dict())
    reference.load_state_dict(lazy.state_dict())


def test_a_graph_is_dropped_when_what_it_depends_on_changes() -> None:
    """Warm-up steps, the replays after them, and new warm-up steps."""
    network = Network([], 3, HeadSettings())
    rows = RowTensors((torch.randn(8, 3),), torch.ones(8))
    seen: list[RowTensors] = []
    depends_on = [0]

    def step(given: RowTensors, index: torch.Tensor) -> torch.Tensor:
        seen.append(given)
        return given.take(index).state[0].sum()

    graph = CudaGraphStep(step, network, lambda: depends_on[0])
    batches = [torch.tensor([one, one + 1]) for one in range(7)]
    for epoch in range(2):
        graph.begin_epoch(rows)
        for batch in batches:
            assert graph(rows, batch) == rows.take(batch).state[0].sum()
        depends_on[0] = epoch + 1
    away = dataclasses.replace(rows, resident=False)
    graph.begin_epoch(away)
    for batch in batches:
        moved = away.take(batch)
        assert graph(moved, torch.arange(2)) == moved.state[0].sum()
    # Rows that are not resident are copied to where the graph looks for them.
    assert len({id(one) for one in seen[:14]}) == 1
    assert len({id(one) for one in seen[14 + WARMUP_STEPS :]}) == 1
