"""Names: two may share rows, each thing has its own, also where several commands ask for one at the
same moment."""

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from core.cli.parser import main
from core.data.dataset_rows import load_encoded
from core.data.datasets import Dataset, list_datasets
from core.data.prepare import prepare
from core.data.preprocessing import fit_preprocessing
from core.data.reading.ingest import ingest
from core.data.samples import delete_sample, list_samples, read_sample_rows
from core.data.simulate import simulate
from core.data.split import SplitSpec
from core.errors import BadInput
from core.jobs.requests import PretrainRequest
from core.models.backbone_store import list_backbones
from core.models.exchange import export_backbone
from core.names import names_lock
from core.runs.submit import submit_pretrain
from core.runs.sweep import Arm, SweepSpec, list_sweeps, submit_sweep
from core.workspace import PROJECT, Workspace
from tests.core.data.helpers import rows, text, write

AT_ONCE = 4


def refused(capsys: pytest.CaptureFixture[str], workspace: Workspace, *words: str) -> str:
    assert main(["--workspace", str(workspace.root), *words]) == 2
    return capsys.readouterr().err


def test_what_is_marked_as_simulated_is_done_or_refused(
    workspace: Workspace, tmp_path: Path
) -> None:
    path = write(tmp_path, text(rows(200)))
    real = ingest(workspace, path, "real")
    with pytest.raises(
        BadInput,
        match="'real' of the same rows, and it is not marked as simulated; ingest the file without",
    ):
        ingest(workspace, path, "real", simulated=True)
    made_up = ingest(workspace, path, "made up", simulated=True)
    with pytest.raises(
        BadInput,
        match="'made up' of the same rows, and it is marked as simulated; ingest the file with",
    ):
        ingest(workspace, path, "made up")
    assert {one.name: one.simulated for one in list_samples(workspace)} == {
        "real": False,
        "made up": True,
    }
    assert not prepare(workspace, real, SplitSpec(), "a").simulated
    assert prepare(workspace, made_up, SplitSpec(), "b").simulated


def test_a_name_of_other_rows_is_refused_before_the_file_is_read(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(workspace, write(tmp_path, text(rows(200)), "one"), "x")
    other = write(tmp_path, text(rows(300, seed=5)), "two")
    monkeypatch.setattr("core.data.reading.ingest.read_file_rows", lambda *_: pytest.fail("read"))
    with pytest.raises(BadInput, match="already a sample named 'x', with other rows"):
        ingest(workspace, other, "x")


def test_a_dataset_reads_the_rows_of_another_name_once_its_own_sample_is_gone(
    workspace: Workspace, tmp_path: Path
) -> None:
    path = write(tmp_path, text(rows(400)))
    one, two = ingest(workspace, path, "one"), ingest(workspace, path, "two")
    first, second = (prepare(workspace, sample, SplitSpec(), sample.name) for sample in (one, two))
    assert first.content_hash == second.content_hash and first.id != second.id
    delete_sample(one)
    for dataset in (first, second):
        assert (
            len(load_encoded(workspace, dataset, fit_preprocessing(read_sample_rows(two), 2)).ids)
            == 400
        )
    other = fit_preprocessing(read_sample_rows(two), 3)
    delete_sample(two)
    with pytest.raises(
        BadInput, match="There is no sample 'one' any more, of which the dataset 'one' is made"
    ):
        load_encoded(workspace, first, other)
    ingest(workspace, path, "three")
    assert (
        len(load_encoded(workspace, first, other).ids)
        == len(load_encoded(workspace, second, other).ids)
        == 400
    )


@pytest.mark.parametrize("name", ["taken", "no/name", ""])
def test_ingest_under_a_name_that_no_dataset_can_get_leaves_no_sample(
    name: str, workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = ingest(workspace, write(tmp_path, text(rows(200)), "one"), "one")
    prepare(workspace, other, SplitSpec(), "taken")
    path = write(tmp_path, text(rows(300, seed=5)), "two")
    said = refused(capsys, workspace, "ingest", str(path), "--name", name)
    assert ("already a dataset named 'taken'" if name == "taken" else "cannot be used") in said
    assert [one.name for one in list_samples(workspace)] == ["one"]


def test_ingest_of_known_rows_under_a_dataset_of_another_split_leaves_no_sample(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, text(rows(200)))
    prepare(workspace, ingest(workspace, path, "rows"), SplitSpec(), "taken")
    said = refused(
        capsys, workspace, "ingest", str(path), "--name", "taken", "--source-share", "0.4"
    )
    assert "already a dataset named 'taken'" in said
    assert [one.name for one in list_samples(workspace)] == ["rows"]


@pytest.fixture
def at_once(tiny: tuple[Workspace, Dataset]) -> Callable[[Callable[[int], list[str]]], list[int]]:
    """Gives AT_ONCE commands at the same moment; their exit statuses, in rising order."""

    def give(words: Callable[[int], list[str]]) -> list[int]:
        head = [sys.executable, "-m", "core", "--workspace", str(tiny[0].root)]
        running = [
            subprocess.Popen(
                [*head, *words(number)], cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            for number in range(AT_ONCE)
        ]
        for one in running:
            _, said = one.communicate(timeout=300)
            assert b"Traceback" not in said, said.decode()
        return sorted(one.returncode for one in running)

    return give


def test_several_commands_at_once_make_one_thing_of_a_name(
    tiny: tuple[Workspace, Dataset],
    at_once: Callable[[Callable[[int], list[str]]], list[int]],
    tmp_path: Path,
) -> None:
    workspace, _ = tiny
    for number in range(AT_ONCE):
        simulate(tmp_path / f"{number}.tsv", 300, "both", seed=number)

    assert at_once(
        lambda n: ["ingest", str(tmp_path / f"{n}.tsv"), "--name", "new", "--no-prepare"]
    ) == [0, 2, 2, 2]
    assert [one.name for one in list_samples(workspace)].count("new") == 1
    # The same rows under one name are one sample, and under several as many.
    same = str(tmp_path / "0.tsv")
    assert at_once(lambda n: ["ingest", same, "--name", "twice", "--no-prepare"]) == [0] * AT_ONCE
    assert (
        at_once(lambda n: ["ingest", same, "--name", f"name {n}", "--no-prepare"]) == [0] * AT_ONCE
    )
    names = [one.name for one in list_samples(workspace)]
    assert sorted(names) == sorted({*names}) and {
        "twice",
        *(f"name {n}" for n in range(AT_ONCE)),
    } < {*names}
    assert len({one.id for one in list_samples(workspace)}) == len(names)

    sample = ["prepare", "--sample", "tiny", "--name", "split", "--source-share"]
    assert at_once(lambda n: [*sample, f"0.{n + 3}"]) == [0, 2, 2, 2]
    assert [one.name for one in list_datasets(workspace)].count("split") == 1

    archive = tmp_path / "backbone.zip"
    export_backbone(
        next(card for card in list_backbones(workspace) if card.id == "simulated-dnn"), archive
    )
    assert at_once(lambda n: ["import-backbone", str(archive), "--name", "mine"]) == [0, 2, 2, 2]
    assert [card.name for card in list_backbones(workspace)].count("mine") == 1


def test_sessions_at_once_make_one_backbone_and_one_sweep_of_a_name(
    tiny: tuple[Workspace, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, dataset = tiny
    for module in ("submit", "sweep"):
        monkeypatch.setattr(f"core.runs.{module}.ensure_worker", lambda *_: None)

    def tried(ask: Callable[[int], object]) -> int:
        """How many of AT_ONCE sessions got what they asked for."""

        def one(number: int) -> bool:
            ready.wait()
            try:
                ask(number)
            except BadInput:
                return False
            return True

        ready = Barrier(AT_ONCE)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return sum(pool.map(one, range(AT_ONCE)))

    assert (
        tried(lambda n: submit_pretrain(workspace, PretrainRequest(dataset.id, "dnn", "mine"))) == 1
    )
    arms = [(Arm("depth", number),) for number in range(AT_ONCE)]
    assert (
        tried(
            lambda n: submit_sweep(
                workspace, SweepSpec(dataset.id, "simulated-dnn", arms[n]), "a sweep"
            )
        )
        == 1
    )
    assert len(list_sweeps(workspace)) == 1


def test_a_command_stopped_while_holding_the_lock_on_names_is_reported(
    workspace: Workspace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("core.names.NAMES_LOCK_TIMEOUT", 0.2)
    path = write(tmp_path, text(rows(200)))
    words = ["ingest", str(path), "--name", "x", "--no-prepare"]
    with names_lock(workspace):
        assert "names are given one at a time" in refused(capsys, workspace, *words)
    assert main(["--workspace", str(workspace.root), *words]) == 0


def test_a_folder_in_the_place_of_the_lock_is_named(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (workspace.root / "names.lock").unlink(missing_ok=True)
    (workspace.root / "names.lock").mkdir()
    path = write(tmp_path, text(rows(200)))
    said = refused(capsys, workspace, "ingest", str(path), "--name", "x", "--no-prepare")
    assert "names.lock' is damaged: it is a folder; delete it." in said
