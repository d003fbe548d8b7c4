"""A workspace whose run has one click in its target test rows, on the command line as a user types
it."""

import json
import math
import shutil
from pathlib import Path

import pytest

from core.cli.parser import main
from core.data.datasets import find_dataset
from core.jobs.store import RunStore
from core.workspace import Workspace, open_workspace
from tests.missing.examples import Example
from tests.missing.scored_workspace import with_parts

ONE_CLICK = Example("one click", (0,) * 29 + (1,), (0.5,) * 30, (0.5,) * 30)
SMALL = ("--epochs", "1", "--batch-size", "256", "--device", "cpu")


@pytest.fixture
def workspace(tiny_template: Path, tmp_path: Path) -> Workspace:

    shutil.copytree(tiny_template, tmp_path / "one click")
    workspace = open_workspace(tmp_path / "one click")
    with_parts(workspace, find_dataset(workspace, "tiny"), ONE_CLICK)
    return workspace


def test_every_command_ends_well_and_says_why_there_is_no_interval(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*words: str | Path) -> str:
        status = main(["--workspace", str(workspace.root), *map(str, words)])
        shown = capsys.readouterr()
        assert status == 0, shown.err
        assert "nan" not in shown.out.lower() and "None" not in shown.out
        return shown.out

    network = ("--architecture", "dnn", "--name", "mine", "--widths", "8", "--embedding", "2")
    assert "source test: " in said("pretrain", "--dataset", "tiny", *network, *SMALL)
    tuned = said(
        "finetune", "--dataset", "tiny", "--backbone", "mine", "--freeze-depth", "1", *SMALL
    )
    reason = "(no interval: one click in 30 rows)"
    lines = tuned.splitlines()
    assert reason in next(line for line in lines if line.startswith("target test: "))
    (run, _) = RunStore(workspace).list()
    assert run.result is not None and math.isnan(run.result.metrics["target_test"]["auc_low"])
    assert all(reason in line for line in said("runs").splitlines() if "fine" in line)
    assert reason in said("evaluate", "--run", run.id)
    shelf = said("backbones")
    assert "source test AUC 0" in shelf and "AUC AUC" not in shelf
    (tmp_path / "rows.tsv").write_text(
        "".join(f"{label}{chr(9) * 39}\n" for label in ONE_CLICK.labels)
    )
    assert reason in said(
        "score", "--run", run.id, "--input", tmp_path / "rows.tsv", "--output", tmp_path / "out.csv"
    )
    said("report", "--runs", run.id, "--out", tmp_path / "report.html")
    assert "one click in 30 rows" in (tmp_path / "report.html").read_text(encoding="utf-8")
    said("export-tracking", "--run", run.id, "--format", "mlflow", "--out", tmp_path / "mlflow")
    said(
        "export-tracking",
        "--run",
        run.id,
        "--format",
        "tensorboard",
        "--out",
        tmp_path / "tensorboard",
    )
    written = {path.name for path in (tmp_path / "mlflow").rglob("metrics/target_test/*")}
    assert "auc" in written and not written & {"auc_low", "auc_high"}
    json.loads(said("runs", "--json"))
