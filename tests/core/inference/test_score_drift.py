"""Scoring a file: metrics compared with scikit-learn, drift with its definition, and the same from
another process."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from core.data.datasets import Dataset, delete_dataset, select_training_rows
from core.data.simulate import simulate
from core.errors import BadInput, RunError
from core.inference.score_file import score_file
from core.jobs.requests import FinetuneRequest
from core.jobs.store import Run
from core.runs import subprocess_commands
from core.runs.subprocess_commands import run_command, score_in_subprocess
from core.workspace import Workspace
from tests.core.training.helpers import QUICK, pretrained, run_request


@pytest.fixture
def tuned(tiny: tuple[Workspace, Dataset]) -> tuple[Workspace, Dataset, Run]:
    workspace, dataset = tiny
    request = FinetuneRequest(
        dataset.id, pretrained(workspace, "dnn").id, freeze_depth=1, train=QUICK, target_rows=500
    )
    return workspace, dataset, run_request(workspace, request)


def test_metrics_and_drift_of_a_labelled_file(
    tuned: tuple[Workspace, Dataset, Run], tmp_path: Path
) -> None:
    workspace, dataset, run = tuned
    path = tmp_path / "rows.tsv"
    simulate(path, 800, "source", seed=9)
    frame = pd.read_csv(path, sep="\t", header=None, dtype=str)
    frame[14 + 2] = "never seen"
    frame.loc[:399, 1] = None
    frame.to_csv(path, sep="\t", header=False, index=False)
    shares: list[float] = []
    said = score_file(workspace, run, path, tmp_path / "out.csv", on_progress=shares.append)
    assert shares == sorted(shares) and shares[-1] == 1.0
    scores = pd.read_csv(tmp_path / "out.csv")["score"].to_numpy()
    labels = frame[0].astype(int).to_numpy()
    assert said["metrics"]["auc"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-6)

    drift = said["drift"]
    train = np.sort(select_training_rows(dataset, "target", None, 500)[0])
    assert drift["training_rows"] == len(train) and drift["dataset"] == "tiny"
    by_field = {one["field"]: one for one in drift["fields"]}
    assert (
        len(by_field) == 39
        and by_field["C3"]["unseen_scored"] == 1.0
        and by_field["C3"]["level"] == "strong"
    )
    assert drift["fields"][0]["psi"] == max(one["psi"] for one in drift["fields"])
    assert by_field["I1"]["missing_scored"] == frame[1].isna().mean()
    original = pd.read_csv(workspace.uploads / "tiny.tsv", sep="\t", header=None, dtype=str)
    assert by_field["I1"]["missing_training"] == original.loc[train, 1].isna().mean()

    with np.load(workspace.runs / run.id / "predictions.npz") as arrays:
        test = arrays["target_test_score"].astype(float)
    edges = [-np.inf, *np.quantile(test, np.linspace(0.1, 0.9, 9)), np.inf]
    p, q = (np.histogram(values, edges)[0] + 0.5 for values in (test, scores))
    p, q = p / p.sum(), q / q.sum()
    assert drift["scores"]["psi"] == pytest.approx(
        np.sum((p - q) * np.log(p / q)), rel=0.02, abs=1e-3
    )
    assert sum(drift["scores"]["scored"]["counts"]) == 800
    assert drift["scores"]["scored"]["mean"] == pytest.approx(scores.mean(), abs=1e-6)


def test_the_runs_own_rows_have_not_drifted(
    tuned: tuple[Workspace, Dataset, Run], tmp_path: Path
) -> None:
    workspace, dataset, run = tuned
    lines = (workspace.uploads / "tiny.tsv").read_text().splitlines()
    train = np.sort(select_training_rows(dataset, "target", None, 500)[0])
    (tmp_path / "train.tsv").write_text(
        "".join(f"{lines[row].partition(chr(9))[2]}\n" for row in train)
    )
    said = score_file(workspace, run, tmp_path / "train.tsv", tmp_path / "out.csv")
    assert said["metrics"] is None
    assert all(one["psi"] == 0 and one["level"] == "little" for one in said["drift"]["fields"])
    delete_dataset(dataset)
    assert score_file(workspace, run, tmp_path / "train.tsv", tmp_path / "out.csv")["drift"] is None


def test_from_another_process_with_progress(
    tuned: tuple[Workspace, Dataset, Run], tmp_path: Path
) -> None:
    workspace, _, run = tuned
    path = workspace.uploads / "tiny.tsv"
    here = score_file(workspace, run, path, tmp_path / "here.csv")
    shares: list[float] = []
    there = score_in_subprocess(
        workspace, run.id, path, tmp_path / "there.csv", on_progress=shares.append
    )
    assert shares and shares == sorted(shares) and shares[-1] == 1.0
    assert there["drift"]["fields"][0]["field"] == here["drift"]["fields"][0]["field"]
    assert (tmp_path / "there.csv").read_bytes() == (tmp_path / "here.csv").read_bytes()
    with pytest.raises(BadInput, match="There is no file"):
        score_in_subprocess(workspace, run.id, tmp_path / "none.tsv", tmp_path / "x.csv")


def test_a_failed_command_gives_a_message_and_an_abandoned_one_ends(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BadInput, match="There is no run 'r-none'"):
        subprocess_commands.export_in_subprocess(workspace, "r-none", tmp_path / "out")
    fake = tmp_path / "core"
    fake.mkdir()
    (fake / "__init__.py").touch()
    monkeypatch.setattr(subprocess_commands, "PROJECT", tmp_path)
    (fake / "__main__.py").write_text("import sys; print('boom', file=sys.stderr); sys.exit(3)")
    with pytest.raises(RunError, match="'score' ended with status 3: boom"):
        run_command(workspace, ["score"])
    (fake / "__main__.py").write_text(
        "import os, sys, time; print('progress', os.getpid(), file=sys.stderr, flush=True);"
        " time.sleep(60)"
    )
    seen: list[int] = []

    def leave(share: float) -> None:
        seen.append(int(share))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_command(workspace, ["score"], leave)
    with pytest.raises(ProcessLookupError):
        os.kill(seen[0], 0)
