"""The demo's dataset is made once; its sweep is queued once."""

import pytest

from core.cli.parser import main
from core.data.datasets import list_datasets
from core.data.samples import list_samples
from core.errors import BadInput
from core.jobs.store import RunStore
from core.runs import demo
from core.workspace import Workspace


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "ROWS", 2000)
    monkeypatch.setattr("core.runs.submit.ensure_worker", lambda *_: None)
    monkeypatch.setattr("core.runs.sweep.ensure_worker", lambda *_: None)


def test_the_dataset_is_made_once_and_marked_simulated(workspace: Workspace) -> None:
    shares: list[float] = []
    first = demo.ensure_demo_dataset(workspace, shares.append)
    assert demo.ensure_demo_dataset(workspace) == first
    assert first.simulated and first.has_source and first.rows == 2000
    assert shares == sorted(shares) and shares[-1] == pytest.approx(1)
    assert [sample.name for sample in list_samples(workspace)] == [demo.SAMPLE_NAME]
    assert len(list_datasets(workspace)) == 1
    assert not list(workspace.uploads.iterdir()), "the simulated file itself is not kept"


def test_the_sweep_has_every_depth_the_controls_and_a_mixing_at_its_end(
    workspace: Workspace,
) -> None:
    sweep = demo.run_demo(workspace)
    store = RunStore(workspace)
    runs = store.list_group(sweep.id)
    first = [(run.strategy, run.finetune_request.freeze_depth) for run in runs[:10]]
    controls = ("zero-shot", "logistic-regression", "gradient-boosting", "scratch")
    depths = [("depth", depth) for depth in range(6)]
    assert first == [*depths, *((control, 0) for control in controls)]
    assert len(runs) == 18, "zero-shot and logistic regression have no second seed"
    (mixing,) = store.list(kind="interpolate")
    assert mixing.interpolate_request.run == runs[0].id and mixing.created > runs[-1].created


def test_running_it_again_queues_only_what_broke_off(workspace: Workspace) -> None:
    sweep = demo.run_demo(workspace)
    store = RunStore(workspace)
    store.request_cancel(store.list_group(sweep.id)[3].id)
    assert demo.run_demo(workspace) == sweep
    assert [run.status for run in store.list_group(sweep.id)] == ["queued"] * 18
    assert len(store.list(kind="interpolate")) == 1
    for run in store.list_group(sweep.id):
        store.delete(run.id)
    assert demo.demo_sweep(workspace) is None
    again = demo.run_demo(workspace)
    assert again.id != sweep.id and demo.demo_sweep(workspace) == again


def test_without_the_backbone_nothing_is_queued(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.models.backbone_store.BUNDLED_BACKBONES", workspace.cache)
    with pytest.raises(BadInput, match="restore that folder"):
        demo.run_demo(workspace)
    assert not RunStore(workspace).list()


def test_the_command_makes_the_dataset_and_queues(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("THAW_HOME", str(workspace.root))
    assert main(["demo", "--dataset-only"]) == 0
    assert "2,000 simulated rows" in capsys.readouterr().out
    assert not RunStore(workspace).list()
    assert main(["demo"]) == 0
    printed = capsys.readouterr().out
    assert "18 runs, 18 queued or running" in printed and demo.WHAT_IT_SHOWS in printed


def test_what_keeps_the_command_from_it_gives_a_message(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`make app` begins with it, whatever the disk is like."""

    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system", str(workspace.root / "demo.lock"))

    monkeypatch.setenv("THAW_HOME", str(workspace.root))
    monkeypatch.setattr(demo, "ensure_demo_dataset", refuse)
    assert main(["demo", "--dataset-only"]) == 1
    said = capsys.readouterr().err
    assert (
        said.startswith("thaw: The workspace")
        and "may not be written" in said
        and said.count("\n") == 1
    )
