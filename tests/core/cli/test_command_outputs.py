"""Every command with an output path refuses one that it cannot write, before it does any work."""

from pathlib import Path

import pytest

from core.cli.parser import main
from core.data.datasets import Dataset
from core.jobs.requests import FinetuneRequest
from core.jobs.store import Run
from core.models.card import BackboneCard
from core.workspace import Workspace
from tests.core.training.helpers import QUICK, pretrained, run_request

Tuned = tuple[Workspace, Run, BackboneCard]


@pytest.fixture
def tuned(tiny: tuple[Workspace, Dataset]) -> Tuned:
    workspace, dataset = tiny
    card = pretrained(workspace, "dnn")
    return (
        workspace,
        run_request(workspace, FinetuneRequest(dataset.id, card.id, freeze_depth=1, train=QUICK)),
        card,
    )


def refused(workspace: Workspace, words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The sentence of a command that must not have worked."""
    assert main(["--workspace", str(workspace.root), *words]) == 2
    captured = capsys.readouterr()
    said = captured.err.strip()
    assert captured.out == "" and said.startswith("thaw: ") and "\n" not in said
    return captured.err


def test_a_location_that_cannot_be_written_is_refused(
    tuned: Tuned,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workspace, run, card = tuned
    rows = str(workspace.uploads / "tiny.tsv")
    files = {
        "score": ["--run", run.id, "--input", rows, "--output"],
        "simulate": ["--rows", "10", "--out"],
        "report": ["--runs", run.id, "--out"],
        "export-backbone": ["--backbone", card.id, "--out"],
    }
    folders = {
        "export": ["--run", run.id, "--out"],
        "export-tracking": ["--run", run.id, "--format", "mlflow", "--out"],
    }

    def worked(*_: object, **__: object) -> None:
        raise AssertionError("work was done before the output was checked")

    for place in (
        "core.inference.score_file.load_backbone",
        "core.data.simulate.GenerativeModel",
        "core.report.html_report.judge_arms",
        "core.models.exchange.hash_file",
        "core.inference.export._write_model",
        "core.tracking.tracked.track_run",
    ):
        monkeypatch.setattr(place, worked)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    before = sorted(tmp_path.rglob("*"))
    for command, words in files.items():
        assert "is a folder" in refused(
            workspace, [command, *words, str(tmp_path / "full")], capsys
        )
    for command, words in folders.items():
        assert "is not empty" in refused(
            workspace, [command, *words, str(tmp_path / "full")], capsys
        )
        assert "is a file" in refused(workspace, [command, *words, str(tmp_path / "file")], capsys)
    for command, words in (files | folders).items():
        assert "Not a directory" in refused(
            workspace, [command, *words, str(tmp_path / "file" / "out")], capsys
        )
        assert "cannot be written" in refused(
            workspace, [command, *words, "/proc/none/out"], capsys
        )
    (tmp_path / "dir.zip").mkdir()
    assert "is a folder" in refused(
        workspace, ["export", *folders["export"], str(tmp_path / "dir.zip")], capsys
    )
    weights = str(card.folder / "model.safetensors")
    assert "is the input" in refused(
        workspace, ["export-backbone", *files["export-backbone"], weights], capsys
    )
    assert "is the input" in refused(workspace, ["score", *files["score"], rows], capsys)
    (tmp_path / "link").hardlink_to(rows)
    assert "is the input" in refused(
        workspace, ["score", *files["score"], str(tmp_path / "link")], capsys
    )
    assert sorted(tmp_path.rglob("*")) == sorted([*before, tmp_path / "dir.zip", tmp_path / "link"])
