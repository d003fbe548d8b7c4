"""When a run validates and ends: validations inside an epoch, the least number of steps, the head's
own rate, decay on matrices and LP-FT's probe."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from core.data.datasets import Dataset
from core.freezing.plan import make_plan
from core.freezing.schedule import count_epochs, plan_to_show
from core.jobs.requests import TrainSettings, request_from_json
from core.models.backbone import load_backbone
from core.models.card import BackboneCard, HeadSettings
from core.models.network import matrices
from core.runs.sweep import Arm, SweepSpec, spec_from_json
from core.training import loop
from core.training.batches import RowTensors, epoch_batches
from core.training.epochs import MIN_AVERAGE_IMPROVEMENT, PROBE_PATIENCE
from core.training.lazy_adam import LazyAdamW
from core.training.loop import CancelledError, fit
from core.training.losses import CLICK_TASK
from core.training.param_groups import merge_by_stage, parameter_groups, split_by_decay
from core.workspace import Workspace
from tests.core.training.fit_setup import Setup, run, same
from tests.core.training.helpers import QUICK, ListReporter, pretrained, target_rows
from tests.core.training.strategy_setup import WeightSpy

HEAD = HeadSettings()


@pytest.fixture
def setup(tiny: tuple[Workspace, Dataset]) -> Setup:
    workspace, dataset = tiny
    card = pretrained(workspace, "dnn")
    return card, *target_rows(workspace, dataset, card.folder / "preprocessing")


def values(reporter: ListReporter, name: str) -> list[tuple[int, float]]:
    return [(step, value) for step, point, value in reporter.rows if point == name]


def probe_then_tune(
    setup: Setup, path: Path, settings: TrainSettings, reporter: ListReporter
) -> tuple[torch.nn.Module, loop.FitResult, WeightSpy]:
    card, train, validation = setup
    torch.manual_seed(0)
    network, spy = load_backbone(card), WeightSpy()
    network.replace_head(HEAD)
    plan = make_plan(card, "lp-ft", 0, HEAD)
    return network, fit(network, plan, train, validation, settings, reporter, path, spy), spy


def test_validations_inside_an_epoch_may_be_the_best_and_patience_counts_epochs(
    setup: Setup, tmp_path: Path
) -> None:
    settings = dataclasses.replace(
        QUICK,
        epochs=30,
        batch_size=64,
        learning_rate=0.03,
        early_stopping=2,
        validations_per_epoch=3,
    )
    reporter = ListReporter()
    network, result = run(setup, tmp_path / "c.pt", settings, reporter, depth=0)
    steps = len(epoch_batches(setup[1], settings, 0))
    found = values(reporter, "validation_loss")
    thirds = [round(-(-steps * k // 3)) for k in (1, 2, 3)]
    assert [step for step, _ in found[:4]] == [0, *thirds]
    best_step, best = min(found, key=lambda point: point[1])
    assert result.best_step == best_step and result.best_epoch == -(-best_step // steps)
    assert result.stopped_early and result.epochs_run == result.best_epoch + 2
    assert CLICK_TASK.validate(network, setup[2])[0] == pytest.approx(best, abs=1e-6)


def test_a_new_head_trains_for_the_least_number_of_steps(setup: Setup, tmp_path: Path) -> None:
    """Epochs beyond the bound and beyond the patience of early stopping."""
    card, train, _ = setup
    depth = len(card.stages)
    settings = dataclasses.replace(QUICK, epochs=2, learning_rate=1.0, early_stopping=1)
    steps = len(epoch_batches(train, settings, 0))
    longer = dataclasses.replace(settings, min_steps=5 * steps - 1)
    plan = make_plan(card, "linear-probe", 0, HEAD)
    assert count_epochs(plan, settings, len(train)) == 2
    assert count_epochs(plan, longer, len(train)) == 5
    kept = dataclasses.replace(plan, new_head=False)
    assert count_epochs(kept, longer, len(train)) == 2
    _, short = run(setup, tmp_path / "short.pt", settings, ListReporter(), depth)
    _, long = run(setup, tmp_path / "long.pt", longer, ListReporter(), depth)
    assert short.epochs_run <= 2 and long.epochs_run == 5


def test_the_new_head_trains_at_its_own_rate(setup: Setup, tmp_path: Path) -> None:
    """A linear probe at head rate r is the same training as one at rate r."""
    depth = len(setup[0].stages)
    own = dataclasses.replace(QUICK, learning_rate=1e-5, head_learning_rate=3e-3)
    one, _ = run(setup, tmp_path / "own.pt", own, ListReporter(), depth)
    both = dataclasses.replace(QUICK, learning_rate=3e-3)
    other, _ = run(setup, tmp_path / "both.pt", both, ListReporter(), depth)
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)
    plan = make_plan(setup[0], "full", 0, HEAD)
    shown = [stage.lr_scale for stage in plan_to_show(plan, own, 100).stages]
    assert shown == pytest.approx([1.0] * depth + [300.0])
    scratch = make_plan(setup[0], "scratch", 0, HEAD).with_settings(own)
    kept = dataclasses.replace(plan, new_head=False).with_settings(own)
    # From scratch all is new; of a kept head nothing is.
    assert [stage.lr_scale for stage in scratch.stages] == pytest.approx([300.0] * (depth + 1))
    assert kept.stages[-1].lr_scale == 1.0


def test_decay_on_matrices_is_that_of_torch_groups(setup: Setup) -> None:
    """The same step by torch's own AdamW, its groups written by hand from names of parameters."""
    card, train, _ = setup
    settings = dataclasses.replace(
        QUICK, weight_decay=0.5, decay_scope="matrices", learning_rate=0.01
    )
    networks = [load_backbone(card), load_backbone(card)]
    plan = make_plan(card, "full", 0, HEAD)
    groups = parameter_groups(networks[0], plan)
    split = split_by_decay(networks[0], groups, settings)
    ours = LazyAdamW(split, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    named = dict(networks[1].named_parameters())
    linear = [
        one for name, one in named.items() if one.ndim == 2 and not name.startswith("stages.0.")
    ]
    ids = {id(one) for one in linear}
    assert {id(one) for one in matrices(networks[1])} == ids and len(linear) >= 2
    rest = [one for one in named.values() if id(one) not in ids]
    theirs = torch.optim.AdamW(
        [{"params": linear, "weight_decay": 0.5}, {"params": rest, "weight_decay": 0.0}], lr=0.01
    )
    for network, optimiser in zip(networks, (ours, theirs), strict=True):
        network.eval()
        CLICK_TASK.loss(network, train, torch.arange(64), 0).backward()
        optimiser.step()
    for a, b in zip(*(network.parameters() for network in networks), strict=True):
        torch.testing.assert_close(a, b)
    merged = merge_by_stage(split)
    assert [len(one["params"]) for one in merged] == [len(one["params"]) for one in groups]
    assert split_by_decay(
        networks[0], groups, dataclasses.replace(settings, decay_scope="all")
    ) == (groups)


def test_a_probe_ends_when_it_has_converged_and_tuning_starts_from_its_best_weights(
    setup: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = dataclasses.replace(
        QUICK, epochs=9, batch_size=256, learning_rate=1e-4, head_learning_rate=0.3
    )
    reporter = ListReporter()
    whole, result, spy = probe_then_tune(setup, tmp_path / "c.pt", settings, reporter)
    steps = len(epoch_batches(setup[1], settings, 0))
    joined = result.join_epoch
    assert joined is not None and 2 < joined < 9
    assert result.epochs_run == joined + 9
    losses = [value for _, value in values(reporter, "validation_loss")][: joined + 1]
    # Two epochs without improvement end it, and no two before them.
    best = int(np.argmin(losses))
    assert joined == best + PROBE_PATIENCE
    # The spy sees the weights before each step.
    at_best, begins = spy.seen[best * steps], spy.seen[joined * steps]
    for name, tensor in begins.items():
        assert torch.equal(tensor, at_best[name]), name
    frozen = [name for name in begins if name.startswith("stages.") and "running" not in name]
    assert all(torch.equal(spy.seen[0][name], begins[name]) for name in frozen)
    assert any(not torch.equal(spy.seen[-1][name], begins[name]) for name in frozen)

    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    for stop_at in (joined * steps - 1, joined * steps, joined * steps + 1):
        broken = ListReporter(stop_at)
        with pytest.raises(CancelledError):
            probe_then_tune(setup, tmp_path / f"{stop_at}.pt", settings, broken)
        broken.stop_at = None
        resumed, found, _ = probe_then_tune(setup, tmp_path / f"{stop_at}.pt", settings, broken)
        assert same(resumed, whole) and found == result  # type: ignore[arg-type]


def test_the_bound_of_a_probe_is_in_the_plan_and_old_requests_probe_for_two_epochs(
    setup: Setup,
) -> None:
    card: BackboneCard = setup[0]
    rows: RowTensors = setup[1]
    train = dataclasses.replace(QUICK, epochs=7)
    plan = make_plan(card, "lp-ft", 0, HEAD)
    assert count_epochs(plan, train, len(rows)) == 14
    assert count_epochs(plan, train, len(rows), join_epoch=3) == 10
    assert plan_to_show(plan, train, len(rows)).last_unfreeze_epoch == 7
    fixed = make_plan(card, "lp-ft", 0, HEAD, {"probe_epochs": 2})
    assert count_epochs(fixed, train, len(rows)) == 7 and fixed.last_unfreeze_epoch == 2
    stored = {"kind": "finetune", "dataset": "d", "backbone": "b", "strategy": "lp-ft"}
    old, new = (request_from_json(one) for one in (stored, {**stored, "keep_head": False}))
    assert old.options == {"probe_epochs": 2} and new.options == {}  # type: ignore[union-attr]
    spec: dict[str, object] = dataclasses.asdict(SweepSpec("d", "b", (Arm("lp-ft"), Arm("full"))))
    del spec["keep_head"]
    assert [arm.options for arm in spec_from_json(json.dumps(spec)).arms] == [old.options, {}]  # type: ignore[union-attr]


def test_an_average_that_hardly_improves_ends_early(setup: Setup, tmp_path: Path) -> None:
    slow = dataclasses.replace(QUICK, epochs=6, learning_rate=1e-7, early_stopping=2, plateau=0)
    # A probe: BatchNorm of a stage that trains would change the loss by itself.
    reporter, depth = ListReporter(), len(setup[0].stages)
    _, plain = run(setup, tmp_path / "plain.pt", slow, reporter, depth=depth)
    losses = [value for _, name, value in reporter.rows if name == "validation_loss"]
    # The premise: every epoch improves, by less than counts.
    falls = -np.diff(losses)
    assert (falls > 0).all() and falls.max() < MIN_AVERAGE_IMPROVEMENT / 2
    assert (plain.best_epoch, plain.epochs_run, plain.stopped_early) == (6, 6, False)
    averaged = dataclasses.replace(slow, ema=True)
    _, result = run(setup, tmp_path / "averaged.pt", averaged, ListReporter(), depth=depth)
    assert (result.best_epoch, result.epochs_run, result.stopped_early) == (0, 2, True)
