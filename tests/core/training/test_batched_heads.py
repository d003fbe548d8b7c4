"""Heads that train in one product against the same heads trained in turn, and against themselves
after a break."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock

from core.data.datasets import Dataset
from core.errors import BadInput, RunError
from core.freezing.plan import make_plan
from core.jobs.requests import FinetuneRequest, TrainSettings, request_from_json, request_to_json
from core.jobs.store import Run, RunStore
from core.models.backbone import load_backbone
from core.models.card import BackboneCard, HeadSettings
from core.models.network import Network
from core.runs import sweep as sweeps
from core.runs.dispatch import execute
from core.runs.sweep import Arm, SweepSpec, expand_requests, submit_sweep
from core.runs.verify import verify
from core.runs.worker import run_worker
from core.training import batched_heads
from core.training.batched_heads import fit_batched_heads, should_batch_heads
from core.training.batches import RowTensors
from core.training.loop import CancelledError, FitResult, fit
from core.workspace import Workspace
from tests.core.training.helpers import QUICK, ListReporter, pretrained, target_rows

RATES = (3e-3, 1e-4, 0.3)
Setup = tuple[BackboneCard, RowTensors, RowTensors]


@pytest.fixture
def setup(tiny: tuple[Workspace, Dataset]) -> Setup:
    """Rows after every stage of a backbone whose last stage returns two tensors."""
    workspace, dataset = tiny
    card = pretrained(workspace, "deepfm")
    network, depth = load_backbone(card), len(card.stages)
    network.eval()
    rows = target_rows(workspace, dataset, card.folder / "preprocessing")
    with torch.no_grad():
        train, validation = (
            RowTensors(network.run_stages(one.state, 0, depth), one.labels, depth) for one in rows
        )
    return card, train, validation


def begun(card: BackboneCard, seed: int) -> Network:
    torch.manual_seed(seed)
    network = load_backbone(card)
    network.replace_head(HeadSettings())
    return network


def in_turn(
    setup: Setup, settings: TrainSettings, folder: Path
) -> tuple[Network, FitResult, ListReporter]:
    card, train, validation = setup
    network, reporter = begun(card, settings.seed), ListReporter()
    plan = make_plan(card, "linear-probe", 0, HeadSettings())
    path = folder / f"{settings.learning_rate}.pt"
    return network, fit(network, plan, train, validation, settings, reporter, path), reporter


def beside(
    setup: Setup, settings: TrainSettings, folder: Path, reporter: ListReporter | None = None
) -> tuple[Network, FitResult, ListReporter]:
    card, train, validation = setup
    network, reporter = begun(card, settings.seed), reporter or ListReporter()
    plan = make_plan(card, "linear-probe", 0, HeadSettings())
    return (
        network,
        fit_batched_heads(network, plan, train, validation, settings, reporter, RATES, folder),
        reporter,
    )


def curves(reporter: ListReporter) -> dict[tuple[int, str], float]:
    """Everything that was logged except times."""
    return {(step, name): value for step, name, value in reporter.rows if name != "seconds"}


def exact(end: tuple[Network, FitResult, ListReporter]) -> object:
    network, result, reporter = end
    return (
        [tensor.tolist() for tensor in network.head.state_dict().values()],
        result,
        curves(reporter),
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 12, "early_stopping": 2, "plateau": 1},
        {"epochs": 3, "weight_decay": 0.05, "cosine": True, "batch_size": 32},
        {
            "epochs": 2,
            "min_steps": 20,
            "ema": True,
            "validations_per_epoch": 2,
            "weight_decay": 0.5,
            "decay_scope": "matrices",
            "head_learning_rate": 2 * QUICK.learning_rate,
        },
    ],
)
def test_every_arm_ends_as_in_turn(setup: Setup, tmp_path: Path, changes: dict[str, Any]) -> None:
    settings = dataclasses.replace(QUICK, **changes)
    epochs = set()
    for rate in RATES:
        own = settings.with_learning_rate(rate)
        expected, result, reporter_alone = in_turn(setup, own, tmp_path)
        network, found, reporter_batched = beside(setup, own, tmp_path)
        assert found == result
        epochs.add(found.epochs_run)
        assert curves(reporter_batched).keys() == curves(reporter_alone).keys()
        for key, value in curves(reporter_alone).items():
            assert curves(reporter_batched)[key] == pytest.approx(value, rel=2e-4, abs=1e-6), key
        for one, other in zip(network.parameters(), expected.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)
    # Where arms may stop early, they do not all end after as many epochs.
    assert (len(epochs) > 1) == bool(settings.early_stopping)


def test_whichever_comes_first_and_wherever_it_breaks_off_the_bits_are_the_same(
    setup: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = dataclasses.replace(QUICK, epochs=6, batch_size=64, early_stopping=2)
    own = [dataclasses.replace(settings, learning_rate=rate) for rate in RATES]
    forwards = [exact(beside(setup, one, tmp_path / "a")) for one in own]
    backwards = [exact(beside(setup, one, tmp_path / "b")) for one in reversed(own)][::-1]
    assert forwards == backwards

    monkeypatch.setattr(batched_heads, "CHECKPOINT_SECONDS", 0.0)
    for stop_at in (3, 40):
        folder, reporter = tmp_path / f"c{stop_at}", ListReporter(stop_at)
        with pytest.raises(CancelledError):
            beside(setup, own[0], folder, reporter)
        reporter.stop_at = None
        assert exact(beside(setup, own[0], folder, reporter)) == forwards[0]
        assert [exact(beside(setup, one, folder)) for one in own[1:]] == forwards[1:]


def test_what_one_run_computed_the_others_find(
    setup: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Small batches, so that training takes far longer than setting up, on a busy machine too.
    settings = dataclasses.replace(QUICK, epochs=3, batch_size=8, learning_rate=RATES[0])
    _, first, _ = beside(setup, settings, tmp_path)
    monkeypatch.setattr(batched_heads, "train_epoch", None)
    _, second, reporter_alone = beside(
        setup, dataclasses.replace(settings, learning_rate=RATES[1]), tmp_path
    )
    assert second.epochs_run == 3
    # Each counts its share of the seconds: the first gives some away, the others take theirs.
    assert first.earlier_seconds < 0 < second.earlier_seconds
    assert max(
        value for _, name, value in reporter_alone.rows if name == "seconds"
    ) == pytest.approx(second.earlier_seconds, rel=0.9)


def test_an_arm_with_a_nan_loss_ends_without_the_others(
    setup: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = batched_heads.finish_epoch

    def ending(network: Network, *others: object) -> None:
        if others[3].learning_rate == RATES[1]:  # type: ignore[attr-defined]
            raise RunError("no number; lower the learning rate")
        whole(network, *others)  # type: ignore[arg-type]

    expected = exact(
        beside(setup, dataclasses.replace(QUICK, learning_rate=RATES[2]), tmp_path / "well")
    )
    monkeypatch.setattr(batched_heads, "finish_epoch", ending)
    for rate in (*RATES, RATES[1]):
        settings = dataclasses.replace(QUICK, learning_rate=rate)
        if rate == RATES[1]:
            with pytest.raises(RunError, match="lower the learning rate"):
                beside(setup, settings, tmp_path)
        else:
            end = exact(beside(setup, settings, tmp_path))
    assert end == expected


def test_a_run_waiting_for_another_that_trains_its_arm_can_be_cancelled(
    setup: Setup, tmp_path: Path
) -> None:
    reporter = ListReporter(stop_at=2)
    with FileLock(tmp_path / "lock", thread_local=False), pytest.raises(CancelledError):
        beside(setup, dataclasses.replace(QUICK, learning_rate=RATES[0]), tmp_path, reporter)
    assert (
        set(reporter.phases) == {"waiting for an arm that trains with this one"}
        and not reporter.rows
    )


def test_one_row_is_refused(setup: Setup, tmp_path: Path) -> None:
    card, train, validation = setup
    one = RowTensors(
        tuple(tensor[:1] for tensor in train.state), train.labels[:1], train.first_stage
    )
    with pytest.raises(BadInput, match="at least 2 rows"):
        beside(
            (card, one, validation), dataclasses.replace(QUICK, learning_rate=RATES[0]), tmp_path
        )


def test_only_what_was_measured_to_be_faster_trains_together(setup: Setup) -> None:
    card, train, _ = setup
    network, train_as = load_backbone(card), dataclasses.replace(QUICK, learning_rate=RATES[0])
    base_request = FinetuneRequest("d", card.id, "linear-probe", train=train_as, rates=RATES)

    def together_with(rows: RowTensors = train, device: str = "cpu", **changes: object) -> bool:
        request = dataclasses.replace(base_request, **changes)  # type: ignore[arg-type]
        plan = make_plan(
            card, request.strategy, request.freeze_depth, request.head, request.options
        )
        return should_batch_heads(request, plan, rows, network, torch.device(device))

    assert together_with()
    assert together_with(strategy="depth", freeze_depth=len(card.stages))
    assert together_with(head=HeadSettings(activation="tanh")), "which no hidden layer uses"
    assert not together_with(rates=())
    assert not together_with(strategy="depth", freeze_depth=1)
    assert not together_with(strategy="lp-ft")
    assert not together_with(head=HeadSettings(hidden=(8,)))
    assert not together_with(head=HeadSettings(output="softmax"))
    assert not together_with(train=dataclasses.replace(train_as, amp=True))
    assert not together_with(rows=dataclasses.replace(train, first_stage=0)), (
        "without the cached prefix"
    )
    assert not together_with(device="cuda")


@pytest.fixture
def swept(
    tiny: tuple[Workspace, Dataset], monkeypatch: pytest.MonkeyPatch
) -> tuple[Workspace, list[Run]]:
    """A finished sweep of the head alone and of one depth more, two rates and two seeds."""
    monkeypatch.setattr(sweeps, "ensure_worker", lambda workspace, queue: None)
    workspace, dataset = tiny
    card = pretrained(workspace, "dnn")
    arms = (Arm("linear-probe"), Arm("depth", 1))
    spec = SweepSpec(dataset.id, card.id, arms, (0, 1), learning_rates=RATES[:2], train=QUICK)
    sweep = submit_sweep(workspace, spec, "rates")
    run_worker(workspace, "cpu", execute, idle_timeout=0.1)
    runs = RunStore(workspace).list_group(sweep.id)
    assert len(runs) == 8 and all(run.status == "done" for run in runs), [
        run.message for run in runs
    ]
    return workspace, runs


def test_runs_of_a_sweep_score_as_runs_by_themselves(swept: tuple[Workspace, list[Run]]) -> None:
    workspace, runs = swept
    assert len([*workspace.cache.glob("heads-*")]) == 2, "one a seed, of the head alone"
    for run in runs:
        assert run.result is not None and run.result.total_seconds > 0
        request = run.request
        assert isinstance(request, FinetuneRequest)
        alone = dataclasses.replace(request, rates=(), group="")
        again = RunStore(workspace).submit(alone, "alone", "cpu")
        result = execute(workspace, again, ListReporter())
        scores = [
            np.load(workspace.runs / one.id / "predictions.npz")["target_test_score"]
            for one in (run, again)
        ]
        np.testing.assert_allclose(scores[0], scores[1], atol=1e-5)
        assert result.best_epoch == run.result.best_epoch
        points = [RunStore(workspace).points(one.id) for one in (run, again)]
        assert run.strategy == "depth" or {*points[0]} >= {
            "train_loss",
            "gradient/head",
            "learning_rate",
        }


def test_a_run_of_such_a_sweep_comes_out_the_same_bit_for_bit(
    swept: tuple[Workspace, list[Run]],
) -> None:
    workspace, runs = swept
    for run in runs:
        if run.strategy == "linear-probe":
            found = verify(workspace, run)
            assert found.same and found.largest_score_difference == 0 and found.weights_same


def test_rates_survive_json_older_requests_have_none_and_a_rate_must_be_among_them() -> None:
    train = dataclasses.replace(QUICK, learning_rate=RATES[1])
    request = FinetuneRequest("d", "b", train=train, rates=RATES)
    values = json.loads(json.dumps(request_to_json(request)))
    assert request_from_json(values) == request
    del values["rates"]
    assert request_from_json(values) == dataclasses.replace(request, rates=())
    with pytest.raises(BadInput, match=r"learning rate is 0\.5.*the rates it trains with"):
        dataclasses.replace(request, train=dataclasses.replace(QUICK, learning_rate=0.5))


def test_a_sweep_names_its_rates_where_there_are_several_and_none_is_ended_before_the_others() -> (
    None
):
    one = SweepSpec("d", "b", (Arm("linear-probe"),), (0,), train=QUICK)
    several = dataclasses.replace(one, learning_rates=RATES)
    assert [request.rates for request in expand_requests(several)] == [RATES] * 3
    assert [request.rates for request in expand_requests(one)] == [()]
    assert [
        request.rates for request in expand_requests(dataclasses.replace(several, halving=2))
    ] == [()] * 3
