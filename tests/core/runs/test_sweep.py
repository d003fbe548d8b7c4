"""Sweeps: what they queue, in what order, and how they are cancelled, resumed and extended."""

import dataclasses
import itertools
import json

import pytest

from core.data.datasets import Dataset
from core.errors import BadInput
from core.jobs.requests import TrainSettings
from core.jobs.run_result import RunResult
from core.jobs.store import RunStore
from core.models.backbone_store import list_backbones
from core.runs import sweep as sweeps
from core.runs.sweep import (
    Arm,
    Sweep,
    SweepSpec,
    arm_of_run,
    cancel_sweep,
    depth_arms,
    expand_requests,
    extend_sweep,
    find_sweep,
    list_sweeps,
    resume_sweep,
    spec_from_json,
    submit_sweep,
)
from core.workspace import Workspace

TRAIN = TrainSettings(epochs=3, batch_size=256, device="cpu")


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker: what is queued stays queued."""
    monkeypatch.setattr(sweeps, "ensure_worker", lambda workspace, queue: None)


def spec_of(workspace: Workspace, dataset: Dataset, **changes: object) -> SweepSpec:
    card = next(card for card in list_backbones(workspace) if card.architecture == "dnn")
    arms = (*depth_arms(card), Arm("l2-sp", options={"pull": 0.1}), Arm("zero-shot"))
    spec = SweepSpec(dataset.id, card.id, arms, (0, 1), train=TRAIN)
    return dataclasses.replace(spec, **changes)  # type: ignore[arg-type]


@pytest.mark.usefixtures("still")
def test_every_arm_has_every_seed_rate_and_size_and_zero_shot_one_run(
    tiny: tuple[Workspace, Dataset],
) -> None:
    workspace, dataset = tiny
    spec = spec_of(workspace, dataset, learning_rates=(1e-3, 1e-4), target_sizes=(0, 200))
    sweep = submit_sweep(workspace, spec, "mine")
    runs = RunStore(workspace).list_group(sweep.id)
    trained = [arm for arm in spec.arms if arm.strategy != "zero-shot"]
    wanted = set(itertools.product([arm.title for arm in trained], (0, 1), (0, 200), (1e-3, 1e-4)))
    found = [
        (
            arm_of_run(run).title,
            run.seed,
            run.finetune_request.target_rows,
            run.request.train.learning_rate,
        )
        for run in runs
        if run.strategy != "zero-shot"
    ]
    assert len(found) == len(set(found)) == len(trained) * 8 and set(found) == wanted
    assert sum(run.strategy == "zero-shot" for run in runs) == 1
    assert len({run.name for run in runs}) == len(runs)
    seeds = [run.seed for run in runs]
    assert seeds == sorted(seeds), "all arms of one seed come before the next seed's"
    rest = [dataclasses.replace(run.request.train, seed=0, learning_rate=1e-3) for run in runs]
    assert all(one == rest[0] for one in rest)


@pytest.mark.usefixtures("still")
def test_a_sweep_comes_back_from_the_store_and_is_extended_without_doubling(
    tiny: tuple[Workspace, Dataset],
) -> None:
    workspace, dataset = tiny
    sweep = submit_sweep(workspace, spec_of(workspace, dataset), "mine")
    assert list_sweeps(workspace) == [sweep] == [find_sweep(workspace, "mine")]
    before = RunStore(workspace).list_group(sweep.id)
    longer = extend_sweep(workspace, sweep, 2)
    assert longer.spec.seeds == (0, 1, 2, 3)
    after = RunStore(workspace).list_group(sweep.id)
    assert [run.id for run in after[: len(before)]] == [run.id for run in before]
    assert len(after) == len(expand_requests(longer.spec)) == len(before) * 2 - 1
    assert {run.seed for run in after[len(before) :]} == {2, 3}


@pytest.mark.usefixtures("still")
def test_each_target_size_trains_with_its_own_settings(tiny: tuple[Workspace, Dataset]) -> None:
    workspace, dataset = tiny
    by_size = (
        TrainSettings(epochs=9, batch_size=16, device="cpu"),
        TrainSettings(learning_rate=3e-4, device="cpu"),
    )
    spec = spec_of(
        workspace,
        dataset,
        target_sizes=(200, 0),
        train=by_size[1],
        train_by_size=by_size,
        halving=3,
    )
    sweep = extend_sweep(workspace, submit_sweep(workspace, spec, "mine"), 1)
    assert list_sweeps(workspace) == [sweep] and sweep.spec.train_by_size == by_size
    for run in RunStore(workspace).list_group(sweep.id):
        place = (200, 0).index(run.finetune_request.target_rows)
        assert dataclasses.replace(run.request.train, seed=0) == by_size[place]
        if run.strategy != "zero-shot":
            # Rungs at a third and a ninth of the size's own epochs.
            assert [epoch for epoch, _ in run.finetune_request.rungs] == [[1, 3], [2, 6]][place]
    with_rates = dataclasses.replace(spec, learning_rates=(1e-2, 1e-3))
    assert {one.train.learning_rate for one in expand_requests(with_rates)} == {1e-2, 1e-3}


def test_a_sweep_stored_without_settings_by_size_opens(tiny: tuple[Workspace, Dataset]) -> None:
    spec = spec_of(*tiny, target_sizes=(200, 0))
    stored = dataclasses.asdict(spec)
    del stored["train_by_size"]
    assert spec_from_json(json.dumps(stored)) == spec


@pytest.mark.usefixtures("still")
def test_cancel_and_resume_reach_every_run(tiny: tuple[Workspace, Dataset]) -> None:
    workspace, dataset = tiny
    store = RunStore(workspace)
    sweep = submit_sweep(workspace, spec_of(workspace, dataset), "mine")
    first = store.claim("cpu", 1)
    assert first is not None
    store.finish(first.id, "done", result=RunResult())
    cancel_sweep(workspace, sweep)
    statuses = [run.status for run in store.list_group(sweep.id)]
    assert statuses[0] == "done" and set(statuses[1:]) == {"cancelled"}
    resume_sweep(workspace, sweep)
    statuses = [run.status for run in store.list_group(sweep.id)]
    assert statuses[0] == "done" and set(statuses[1:]) == {"queued"}


@pytest.mark.usefixtures("still")
@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"arms": ()}, "at least one arm"),
        (
            {"target_sizes": (200, 0), "train_by_size": (TRAIN,)},
            "settings by size are 1 for 2 target sizes",
        ),
        ({"arms": (Arm("depth", 99),)}, "Freeze depth 99 does not fit"),
        ({"arms": (Arm("full"), Arm("full"))}, "'full fine-tuning' is named twice"),
        ({"arms": (Arm("gradual"),)}, "opens its last stage in epoch"),
        ({"seeds": tuple(range(400))}, "the most is 2,000"),
    ],
)
def test_an_impossible_sweep_queues_nothing(
    changes: dict[str, object], sentence: str, tiny: tuple[Workspace, Dataset]
) -> None:
    workspace, dataset = tiny
    with pytest.raises(BadInput, match=sentence):
        submit_sweep(workspace, spec_of(workspace, dataset, **changes), "mine")
    assert not RunStore(workspace).list() and not list_sweeps(workspace)


def test_unknown_names_are_refused(workspace: Workspace) -> None:
    with pytest.raises(BadInput, match="There is no sweep 'other'"):
        find_sweep(workspace, "other")
    with pytest.raises(BadInput, match="is unknown; choose one of"):
        Arm("guess")
    with pytest.raises(BadInput, match="take 1 to 100"):
        extend_sweep(workspace, Sweep("s", "n", SweepSpec("d", "b", (Arm("full"),)), ""), 0)
