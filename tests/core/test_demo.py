"""The demo's dataset is made once; its runs are queued once each."""

import pytest

from core import demo
from core.data.datasets import list_datasets
from core.data.samples import list_samples
from core.errors import BadInput
from core.runs.store import RunStore
from core.workspace import Workspace


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "ROWS", 2000)
    monkeypatch.setattr("core.runs.submit.ensure_worker", lambda *_: None)


def test_the_dataset_is_made_once_and_marked_simulated(workspace: Workspace) -> None:
    shares: list[float] = []
    first = demo.ensure_demo(workspace, shares.append)
    assert demo.ensure_demo(workspace) == first
    assert first.simulated and first.has_source and first.rows == 2000
    assert shares == sorted(shares) and shares[-1] == pytest.approx(1)
    assert [sample.name for sample in list_samples(workspace)] == [demo.SAMPLE]
    assert len(list_datasets(workspace)) == 1
    assert not list(workspace.uploads.iterdir()), "the simulated file itself is not kept"


def test_running_it_again_queues_only_what_is_missing(workspace: Workspace) -> None:
    first = demo.run_demo(workspace)
    assert len(first) == 5
    assert [run.id for run in demo.run_demo(workspace)] == [run.id for run in first]
    RunStore(workspace).request_cancel(first[1].id)
    again = demo.run_demo(workspace)
    assert len(again) == 5
    assert first[1].id not in [run.id for run in again]


def test_without_the_backbone_nothing_is_queued(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.models.library.BUNDLED_BACKBONES", workspace.cache)
    with pytest.raises(BadInput, match="restore that folder"):
        demo.run_demo(workspace)
    assert not RunStore(workspace).list()


def test_the_command_makes_the_dataset_and_queues(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("THAW_HOME", str(workspace.root))
    monkeypatch.setattr("sys.argv", ["demo"])
    assert demo.main() == 0
    assert "2,000 simulated rows" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["demo", "--run"])
    assert demo.main() == 0
    assert capsys.readouterr().out.count("queued") == 5
