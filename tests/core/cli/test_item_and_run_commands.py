"""cancel, resume, watch, delete, rename, tag and note: what they change, refuse and print."""

import dataclasses
import io
import json
import shlex
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from core.cli.parser import main
from core.data.datasets import Dataset, find_dataset, list_datasets
from core.data.prepare import prepare_files
from core.data.reading.ingest import ingest
from core.data.samples import list_samples, save_sample
from core.data.simulate import simulate
from core.data.split import SplitSpec
from core.jobs.database import connect
from core.jobs.requests import FinetuneRequest, TrainSettings
from core.jobs.run_result import RunResult
from core.jobs.store import Run, RunStore
from core.models.backbone_store import list_backbones
from core.models.card import BackboneCard
from core.read_only import READ_ONLY
from core.runs import submit, sweep
from core.runs.launch import CLUSTER_QUEUE
from core.runs.reproduce import sweep_commands
from core.runs.submit import submit_interpolation
from core.runs.sweep import Arm, Sweep, SweepSpec, find_sweep, list_sweeps, submit_sweep
from core.runs.worker import run_worker
from core.workspace import Workspace
from tests.core.data.helpers import fingerprint
from tests.core.training.helpers import QUICK, pretrained

Tiny = tuple[Workspace, Dataset]
Say = Callable[..., dict[str, Any]]
Refuse = Callable[..., str]


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker starts."""
    for module in (submit, sweep):
        monkeypatch.setattr(module, "ensure_worker", lambda *_: None)


@pytest.fixture
def say(tiny: Tiny, capsys: pytest.CaptureFixture[str]) -> Say:
    """Gives a command and takes its JSON."""

    def run(*words: str) -> dict[str, Any]:
        status = main(["--workspace", str(tiny[0].root), *words, "--json"])
        captured = capsys.readouterr()
        assert status == 0, captured.err
        found: dict[str, Any] = json.loads(captured.out)
        return found

    return run


@pytest.fixture
def refuse(tiny: Tiny, capsys: pytest.CaptureFixture[str]) -> Refuse:
    """Run a command that must be refused and change nothing; returns its message."""

    def run(*words: str, status: int = 2) -> str:
        before = fingerprint(tiny[0])
        assert main(["--workspace", str(tiny[0].root), *words]) == status
        captured = capsys.readouterr()
        assert (
            captured.out == ""
            and captured.err.startswith("thaw: ")
            and captured.err.count("\n") == 1
        )
        assert fingerprint(tiny[0]) == before
        return captured.err.removeprefix("thaw: ").rstrip("\n")

    return run


@pytest.fixture
def run(tiny: Tiny) -> Run:
    """A run that waits."""
    return submit_one(tiny)


def submit_one(tiny: Tiny, name: str = "a run", backbone: str = "simulated-dnn") -> Run:
    request = FinetuneRequest(tiny[1].id, backbone, train=QUICK, keep_head=True)
    return RunStore(tiny[0]).submit(request, name, "cpu")


def running(tiny: Tiny, name: str = "a run") -> Run:
    run = submit_one(tiny, name)
    RunStore(tiny[0]).claim_run(run.id, 1)
    return RunStore(tiny[0]).get(run.id)


@pytest.fixture
def waiting(tiny: Tiny) -> Sweep:
    """A sweep of two arms and two seeds, none of whose runs has started."""
    return submit_two_arms(tiny)


def submit_two_arms(tiny: Tiny) -> Sweep:
    spec = SweepSpec(
        tiny[1].id, "simulated-dnn", (Arm("depth", 1), Arm("scratch")), (0, 1), train=QUICK
    )
    return submit_sweep(tiny[0], spec, "two arms")


def status_of(workspace: Workspace, run: Run) -> str:
    return RunStore(workspace).get(run.id).status


def test_cancel_ends_what_waits_and_waits_for_what_runs(tiny: Tiny, say: Say, run: Run) -> None:
    """A running run is asked to stop, and the command returns once its worker has stopped it."""
    workspace = tiny[0]
    store = RunStore(workspace)
    begun = running(tiny)

    def worker() -> None:
        while not store.cancel_requested(begun.id):
            pass
        store.finish(begun.id, "cancelled", "Cancelled.")

    stopping = threading.Thread(target=worker)
    from core.runs.launch import worker_lock

    with worker_lock(workspace, "cpu").acquire():
        stopping.start()
        found = say("cancel", "--run", f"{run.id},{begun.id}")
        stopping.join()
    assert [one["status"] for one in found["runs"]] == ["cancelled", "cancelled"]
    assert status_of(workspace, run) == status_of(workspace, begun) == "cancelled"


def test_cancel_without_waiting_says_that_the_run_is_stopping(
    tiny: Tiny, say: Say, capsys: pytest.CaptureFixture[str]
) -> None:
    from core.runs.launch import worker_lock

    begun = running(tiny)
    with worker_lock(tiny[0], "cpu").acquire():
        assert (
            main(["--workspace", str(tiny[0].root), "cancel", "--run", begun.id, "--no-wait"]) == 0
        )
    assert capsys.readouterr().out == f"{begun.id} is stopping\n"
    assert RunStore(tiny[0]).cancel_requested(begun.id)


def test_cancel_and_resume_a_whole_sweep(
    tiny: Tiny, say: Say, refuse: Refuse, waiting: Sweep
) -> None:
    store = RunStore(tiny[0])
    assert "nothing to resume" in refuse("resume", "--sweep", "two arms")
    assert len(say("cancel", "--sweep", "two arms")["runs"]) == 4
    assert {run.status for run in store.list_group(waiting.id)} == {"cancelled"}
    assert "nothing to cancel" in refuse("cancel", "--sweep", waiting.id)
    found = say("resume", "--sweep", "two arms", "--no-wait")
    assert [one["status"] for one in found["runs"]] == ["queued"] * 4


def test_resume_follows_the_run_to_its_end(
    tiny: Tiny, say: Say, run: Run, monkeypatch: pytest.MonkeyPatch, refuse: Refuse
) -> None:
    from core.runs.dispatch import execute

    workspace = tiny[0]
    RunStore(workspace).request_cancel(run.id)
    monkeypatch.setattr(
        submit, "ensure_worker", lambda *_: run_worker(workspace, "cpu", execute, idle_timeout=0.1)
    )
    found = say("resume", "--run", run.id)
    assert found["run"]["id"] == run.id and found["run"]["status"] == "done"
    assert found["run"]["result"]["metrics"]["target_test"]["rows"] == 600
    assert say("watch", "--run", run.id)["run"] == found["run"]
    assert refuse("cancel", "--run", run.id) == (
        f"Run {run.id} is done; only queued and running runs can be cancelled."
    )
    assert "only interrupted, failed or cancelled runs can be resumed" in refuse(
        "resume", "--run", run.id
    )


def test_several_runs_of_which_some_fail_are_reported_one_by_one(
    tiny: Tiny, refuse: Refuse, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    store, other = RunStore(tiny[0]), running(tiny, "the other")
    store.finish(other.id, "failed", "The loss became no number.")
    store.request_cancel(run.id)
    assert (
        refuse("watch", "--run", other.id, status=1)
        == f"Run {other.id} failed: The loss became no number."
    )
    assert main(["--workspace", str(tiny[0].root), "watch", "--runs", f"{run.id},{other.id}"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert (
        len(lines) == 2
        and "cancelled" in lines[0]
        and lines[1].endswith("The loss became no number.")
    )


def test_a_run_that_the_command_line_executes_itself_starts_no_worker(
    tiny: Tiny, refuse: Refuse, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken: list[str] = []
    monkeypatch.setattr(submit, "ensure_worker", lambda space, queue: woken.append(queue))
    store = RunStore(tiny[0])
    spec = SweepSpec(tiny[1].id, "simulated-dnn", (Arm("depth", 1),), (0,), train=QUICK)
    own = submit_sweep(tiny[0], spec, "own", run_here=True)
    run = store.list_group(own.id)[0]
    assert run.queue == CLUSTER_QUEUE
    store.request_cancel(run.id)
    assert "give that command again" in refuse("resume", "--run", run.id)
    assert "sweep --name own --arms-at-once N" in refuse("resume", "--sweep", "own")
    assert not woken


def test_delete_says_what_is_gone(tiny: Tiny, say: Say, refuse: Refuse) -> None:
    workspace, store = tiny[0], RunStore(tiny[0])
    first, second, begun = submit_one(tiny, "first"), submit_one(tiny, "second"), running(tiny)
    (workspace.runs / first.id).mkdir()
    assert f"Run {begun.id} (a run) is running" in refuse(
        "delete", "--run", f"{first.id},{begun.id}"
    )
    assert "There is no run 'r-none'" in refuse("delete", "--run", f"{first.id},r-none")
    found = say("delete", "--run", f"{first.id},{second.id},{first.id}")
    assert found == {
        "deleted": [
            {"kind": "run", "id": first.id, "name": "first"},
            {"kind": "run", "id": second.id, "name": "second"},
        ]
    }
    assert [run.id for run in store.list()] == [begun.id] and not (
        workspace.runs / first.id
    ).exists()


def test_deleting_a_run_deletes_its_weight_averages(
    tiny: Tiny, say: Say, refuse: Refuse, run: Run
) -> None:
    workspace, store = tiny[0], RunStore(tiny[0])
    mixing = submit_interpolation(workspace, run)
    (workspace.runs / mixing.id).mkdir()
    store.claim_run(mixing.id, 1)
    assert mixing.id in refuse("delete", "--run", run.id)
    store.finish(mixing.id, "done", result=RunResult())
    say("delete", "--run", run.id)
    assert store.list(kind="interpolate") == [] and not (workspace.runs / mixing.id).exists()


def test_delete_a_sweep_with_its_runs(
    tiny: Tiny, say: Say, refuse: Refuse, waiting: Sweep, run: Run
) -> None:
    workspace, store = tiny[0], RunStore(tiny[0])
    assert "4 runs of the sweep 'two arms' have still to end" in refuse(
        "delete", "--sweep", "two arms"
    )
    say("cancel", "--sweep", "two arms")
    found = say("delete", "--sweep", "two arms")["deleted"]
    assert found[0] == {"kind": "sweep", "id": waiting.id, "name": "two arms"} and len(found) == 5
    assert list_sweeps(workspace) == [] and [one.id for one in store.list()] == [run.id]


def test_what_a_run_needs_stays_and_what_none_needs_goes(
    tiny: Tiny, say: Say, refuse: Refuse
) -> None:
    workspace, dataset = tiny
    card = pretrained(workspace, "dnn")
    run = submit_one(tiny, backbone=card.id)
    for words in (("--dataset", "tiny"), ("--sample", "tiny"), ("--backbone", "small dnn")):
        assert "cancel" in refuse("delete", *words)
    RunStore(workspace).request_cancel(run.id)
    assert say("delete", "--backbone", "small dnn")["deleted"][0]["id"] == card.id
    assert say("delete", "--dataset", dataset.id)["deleted"] == [
        {"kind": "dataset", "id": dataset.id, "name": "tiny"}
    ]
    say("delete", "--sample", "tiny")
    assert list_datasets(workspace) == [] and list_samples(workspace) == []
    assert card.id not in [one.id for one in list_backbones(workspace)]
    assert "comes with Thaw" in refuse("delete", "--backbone", "Simulated DNN")


def test_a_name_that_several_have_needs_an_id(tiny: Tiny, say: Say, refuse: Refuse) -> None:
    workspace = tiny[0]
    path = workspace.uploads / "more.tsv"
    path.write_bytes((workspace.uploads / "tiny.tsv").read_bytes() * 2)
    # As earlier versions allowed.
    second = dataclasses.replace(ingest(workspace, path, "other"), name="tiny")
    save_sample(second)
    first = next(one for one in list_samples(workspace) if one.id != second.id)
    said = refuse("delete", "--sample", "tiny")
    assert (
        said.startswith("There are 2 samples named 'tiny'")
        and first.id in said
        and second.id in said
    )
    assert "There are 2 samples" in refuse("rename", "--sample", "tiny", "--name", "other")
    say("delete", "--sample", second.id)
    assert [one.id for one in list_samples(workspace)] == [first.id]
    assert (
        refuse("delete", "--sample", "nothing")
        == "There is no sample 'nothing'; the samples here are ['tiny']."
    )


@pytest.mark.parametrize(
    ("answer", "deleted"), [("y\n", True), ("\n", False), ("no\n", False), ("", False)]
)
def test_a_terminal_is_asked_before_anything_goes(
    answer: str,
    deleted: bool,
    tiny: Tiny,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal(answer))
    status = main(["--workspace", str(tiny[0].root), "delete", "--run", run.id])
    captured = capsys.readouterr()
    assert (
        captured.err.startswith(f"Delete the run 'a run' ({run.id})?") and "[y/N]" in captured.err
    )
    assert status == (0 if deleted else 1) and ("Nothing was deleted" in captured.err) != deleted
    assert bool(RunStore(tiny[0]).list()) != deleted
    if not deleted:
        assert main(["--workspace", str(tiny[0].root), "delete", "--run", run.id, "--yes"]) == 0
        assert "Delete" not in capsys.readouterr().err and not RunStore(tiny[0]).list()


def test_rename_whatever_has_a_name(tiny: Tiny, say: Say) -> None:
    workspace, dataset = tiny
    card = pretrained(workspace, "dnn")
    run = submit_one(tiny)
    waiting = submit_two_arms(tiny)
    before = (dataset.folder / "dataset.json").read_text()
    assert say("rename", "--run", run.id, "--name", " baseline · 1 ") == {
        "kind": "run",
        "id": run.id,
        "name": "baseline · 1",
        "before": "a run",
    }
    say("rename", "--sample", "tiny", "--name", "July")
    say("rename", "--dataset", "tiny", "--name", "July, split")
    say("rename", "--backbone", "small dnn", "--name", "mine")
    say("rename", "--sweep", "two arms", "--name", "arms")
    now = find_dataset(workspace, "July, split")
    assert (now.id, now.sample_name) == (dataset.id, "July") and list_samples(workspace)[
        0
    ].name == "July"
    after = (dataset.folder / "dataset.json").read_text()
    assert after.replace("July, split", "tiny").replace("July", "tiny") == before, (
        "all else stays as it was"
    )
    assert next(one.name for one in list_backbones(workspace) if one.id == card.id) == "mine"
    assert find_sweep(workspace, "arms").spec == waiting.spec
    assert RunStore(workspace).get(run.id).name == "baseline · 1"


def test_samples_of_a_dataset_of_several_files(tiny: Tiny, say: Say, refuse: Refuse) -> None:
    workspace = tiny[0]
    files = {}
    for place, (role, name) in enumerate(
        [("source", "may"), ("target", "june"), ("target_test", "july")]
    ):
        path = workspace.uploads / f"{name}.tsv"
        simulate(path, 300, "target" if place else "source", seed=place + 1)
        files[role] = ingest(workspace, path, name)
    dataset = prepare_files(workspace, files, SplitSpec(), "months", min_count=3)
    before = json.loads((dataset.folder / "dataset.json").read_text())
    say("rename", "--sample", "june", "--name", "June, all of it")
    now = find_dataset(workspace, "months")
    assert [one.name for one in now.samples] == ["may", "June, all of it", "july"]
    assert now.sample_name == "may, June, all of it, july" and now.id == dataset.id
    after = json.loads((dataset.folder / "dataset.json").read_text())
    after["sample_name"], after["samples"][1]["name"] = before["sample_name"], "june"
    assert after == before, "all else stays as it was"
    say("rename", "--sample", "tiny", "--name", "none of its")
    assert find_dataset(workspace, "months") == now

    run = RunStore(workspace).submit(FinetuneRequest(now.id, "simulated-dnn"), "on months", "cpu")
    for sample in files.values():
        assert f"such as {run.id}; cancel" in refuse("delete", "--sample", sample.id)
    say("delete", "--sample", "none of its")
    RunStore(workspace).request_cancel(run.id)
    say("delete", "--sample", "july")
    assert [one.name for one in list_samples(workspace)] == ["June, all of it", "may"]
    assert find_dataset(workspace, "months") == now


def test_invalid_names_are_refused(tiny: Tiny, refuse: Refuse, say: Say) -> None:
    pretrained(tiny[0], "dnn")
    run = submit_one(tiny)
    assert "name '../x' cannot be used" in refuse("rename", "--dataset", "tiny", "--name", "../x")
    assert "take 1 to 120 letters on one line" in refuse(
        "rename", "--run", run.id, "--name", "a\nb"
    )
    assert "take 1 to 120 letters" in refuse("rename", "--run", run.id, "--name", " ")
    assert "already a backbone named 'Simulated DNN'" in refuse(
        "rename", "--backbone", "small dnn", "--name", "Simulated DNN"
    )
    assert "comes with Thaw and cannot be renamed" in refuse(
        "rename", "--backbone", "Simulated DNN", "--name", "x"
    )
    assert say("rename", "--dataset", "tiny", "--name", "tiny")["name"] == "tiny", (
        "its own name is free to it"
    )


def test_a_renamed_backbone_is_made_again_under_the_name_it_is_asked_for(
    tiny: Tiny, say: Say
) -> None:
    workspace, dataset = tiny
    card: BackboneCard = pretrained(workspace, "dnn")
    say("rename", "--backbone", card.id, "--name", "renamed")
    spec = SweepSpec(dataset.id, card.id, (Arm("depth", 1),), (0,), train=TrainSettings())
    lines = [
        shlex.split(line)
        for line in sweep_commands(workspace, submit_sweep(workspace, spec, "again"))
    ]
    pretrain, asked = (
        next(line for line in lines if name in line) for name in ("pretrain", "sweep")
    )
    assert (
        pretrain[pretrain.index("--name") + 1] == asked[asked.index("--backbone") + 1] == "renamed"
    )


def test_tags_and_notes(tiny: Tiny, say: Say, refuse: Refuse, run: Run) -> None:
    store, other = RunStore(tiny[0]), submit_one(tiny, "other")
    store.annotate(other.id, tags=["old", "kept"], note="mine")
    both = f"{run.id},{other.id}"
    found = say("tag", "--run", both, "--add", "week 47, b", "--remove", "old,absent")["runs"]
    assert [one["tags"] for one in found] == [["b", "week 47"], ["b", "kept", "week 47"]]
    assert say("tag", "--run", run.id, "--set", "x")["runs"][0]["tags"] == ["x"]
    assert say("tag", "--run", run.id, "--set", "")["runs"][0]["tags"] == []
    assert store.get(other.id).note == "mine" and store.get(other.id).name == "other"
    say("note", "--run", run.id, "--text", "looked at\non Monday")
    assert store.get(run.id).note == "looked at\non Monday"
    say("note", "--runs", both, "--text", "")
    assert {store.get(one).note for one in (run.id, other.id)} == {""}
    assert store.get(other.id).tags == ("b", "kept", "week 47")
    assert "No tag was given" in refuse("tag", "--run", run.id)
    assert "--set replaces" in refuse("tag", "--run", run.id, "--set", "a", "--add", "b")
    assert "up to 32 letters" in refuse("tag", "--run", run.id, "--add", "x" * 33)
    assert "has 4,001 letters" in refuse("note", "--run", run.id, "--text", "x" * 4001)


def test_a_read_only_workspace_does_not_change(
    tiny: Tiny, refuse: Refuse, run: Run, waiting: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancelled = submit_one(tiny)
    RunStore(tiny[0]).request_cancel(cancelled.id)
    monkeypatch.setenv(READ_ONLY, "1")
    for words in (
        ("cancel", "--run", run.id),
        ("cancel", "--sweep", waiting.id),
        ("resume", "--run", cancelled.id),
        ("delete", "--run", run.id),
        ("delete", "--sweep", waiting.id),
        ("delete", "--sample", "tiny"),
        ("rename", "--run", run.id, "--name", "x"),
        ("rename", "--dataset", "tiny", "--name", "x"),
        ("rename", "--sweep", waiting.id, "--name", "x"),
        ("tag", "--run", run.id, "--add", "x"),
        ("note", "--run", run.id, "--text", "x"),
        ("demo",),
    ):
        assert "THAW_READ_ONLY=1" in refuse(*words), words


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tests are not asked, wherever they run."""
    monkeypatch.setattr("sys.stdin", io.StringIO())
    yield


def test_a_damaged_run_is_deleted_by_its_id(tiny: Tiny, say: Say, refuse: Refuse) -> None:
    workspace, dataset = tiny
    store = RunStore(workspace)
    run = store.submit(FinetuneRequest(dataset.id, "b-1"), "a broken run", "cpu")
    with connect(workspace) as db:
        db.execute("UPDATE runs SET request = '{}' WHERE id = ?", (run.id,))
    assert "damaged" in refuse("watch", "--run", run.id)
    deleted = say("delete", "--run", run.id, "--yes")["deleted"]
    assert deleted == [{"kind": "run", "id": run.id, "name": "a broken run"}]
    assert store.count_by_status() == {}
