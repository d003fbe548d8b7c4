"""The command line as a user runs it: JSON output, messages and exit status, and the same numbers
as the app."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from core.cli.parser import main
from core.data.preprocessing import load_preprocessing
from core.jobs.store import RunStore
from core.models.backbone import load_backbone
from core.models.backbone_store import list_backbones
from core.models.card import load_card
from core.models.network import click_probabilities
from core.runs.launch import is_worker_alive
from core.workspace import PROJECT, Workspace, open_workspace
from tests.core.data.helpers import fingerprint, rows, text

ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",
    "THAW_WORKER_LINGER": "5",
    "CUDA_VISIBLE_DEVICES": "",
}


def thaw(workspace: Workspace, *words: str | Path) -> tuple[int, str, str]:
    """(exit status, standard output, standard error) of one command."""
    done = subprocess.run(
        [sys.executable, "-m", "core", *map(str, words)],
        cwd=PROJECT,
        env={**ENVIRONMENT, "THAW_HOME": str(workspace.root)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def ok(workspace: Workspace, *words: str | Path) -> dict[str, Any]:
    """The one JSON object of a command that went well."""
    status, out, err = thaw(workspace, *words, "--json")
    assert status == 0, err
    assert out.count("\n") == 1
    return json.loads(out)


def thaw_here(workspace: Workspace, *words: str) -> int:
    """The exit status of one command in this process, which has imported everything before."""
    return main(["--workspace", str(workspace.root), *words])


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, str, str]:
    """simulate, ingest, pretrain and finetune by command; (workspace, pretraining run, fine-tuning
    run)."""
    workspace = open_workspace(tmp_path_factory.mktemp("story"))
    path = workspace.uploads / "both.tsv.gz"
    made = ok(
        workspace, "simulate", "--rows", "3000", "--domain", "both", "--out", path, "--seed", "3"
    )
    assert made == {
        "out": str(path),
        "rows": 3000,
        "domain": "both",
        "recipe": "ordinary",
        "simulated": True,
    }
    ingested = ok(workspace, "ingest", path, "--name", "story", "--simulated", "--min-count", "5")
    assert ingested["rows"] == 3000 and ingested["dataset"]["parts"][0]["rows"] == 1539
    small = [
        "--widths",
        "16,8",
        "--embedding",
        "4",
        "--epochs",
        "2",
        "--batch-size",
        "256",
        "--device",
        "cpu",
    ]
    pretrained = ok(
        workspace,
        "pretrain",
        "--dataset",
        "story",
        "--architecture",
        "dnn",
        "--name",
        "mine",
        *small,
    )
    finetuned = ok(
        workspace, "finetune", "--dataset", "story", "--backbone", "mine", "--freeze-depth", "1",
        "--epochs", "2", "--head-output", "softmax", "--device", "cpu",
    )  # fmt: skip
    assert finetuned["run"]["status"] == "done"
    assert finetuned["run"]["result"]["stages"][0] == {
        "name": "embedding",
        "title": "Embedding",
        "parameters": pretrained["run"]["result"]["stages"][0]["parameters"],
        "flops": 0,
        "frozen": True,
        "trained": 0,
        "from_epoch": 0,
        "origin": "supervised",
    }
    return workspace, pretrained["run"]["id"], finetuned["run"]["id"]


def test_lists(story: tuple[Workspace, str, str], capsys: pytest.CaptureFixture[str]) -> None:
    workspace, pretrained, finetuned = story
    assert [run["id"] for run in ok(workspace, "runs")["runs"]] == [finetuned, pretrained]
    assert [dataset["name"] for dataset in ok(workspace, "datasets")["datasets"]] == ["story"]
    names = [card["name"] for card in ok(workspace, "backbones")["backbones"]]
    bundled = ["Simulated DCNv2", "Simulated DNN", "Simulated DeepFM", "Simulated FinalMLP"]
    assert names == ["mine", *bundled, "Simulated ResNet (tabular)"]
    for command in ("runs", "datasets", "backbones"):
        status = thaw_here(workspace, command)
        out, err = capsys.readouterr()
        assert (status, err) == (0, "") and ("mine" in out or "story" in out)


def test_evaluate_gives_the_runs_own_numbers(
    story: tuple[Workspace, str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    workspace, pretrained, finetuned = story
    for run_id in (pretrained, finetuned):
        stored = RunStore(workspace).get(run_id).result
        assert stored is not None
        assert thaw_here(workspace, "evaluate", "--run", run_id, "--json") == 0
        got = json.loads(capsys.readouterr().out)["metrics"]
        for part, values in stored.metrics.items():
            assert got[part] == pytest.approx(values.as_dict(), abs=1e-6)


def test_score_labelled_or_not_equals_the_network(
    story: tuple[Workspace, str, str], tmp_path: Path
) -> None:
    workspace, _, finetuned = story
    lines = rows(50, seed=8)
    (tmp_path / "labelled.tsv").write_bytes(text(lines))
    (tmp_path / "unlabelled.tsv").write_bytes(text([line[1:] for line in lines]))
    while is_worker_alive(workspace, "cpu"):
        # It looks for runs, and SQLite lays files beside the store for each look.
        time.sleep(0.1)
    before = fingerprint(workspace)
    for name in ("labelled", "unlabelled"):
        files = ("--input", tmp_path / f"{name}.tsv", "--output", tmp_path / f"{name}.csv")
        said = ok(workspace, "score", "--run", finetuned, *files)
        assert said["rows"] == 50
    assert fingerprint(workspace) == before
    first, second = (pd.read_csv(tmp_path / f"{name}.csv") for name in ("labelled", "unlabelled"))
    pd.testing.assert_frame_equal(first, second)

    card = load_card(workspace.runs / finetuned / "model")
    frame = pd.DataFrame(lines).iloc[:, 1:]
    frame.columns = [*(f"I{i}" for i in range(1, 14)), *(f"C{i}" for i in range(1, 27))]
    frame = frame.replace("", None)
    for column in frame.columns[:13]:
        frame[column] = frame[column].astype(float)
    import pyarrow as pa

    encoded = load_preprocessing(card.folder / "preprocessing").encode(
        pa.Table.from_pandas(frame, preserve_index=False)
    )
    with torch.no_grad():
        outputs = load_backbone(card)(
            (torch.from_numpy(encoded.ids), torch.from_numpy(encoded.numerics))
        )
    assert outputs.shape[1] == 2
    np.testing.assert_allclose(first["score"], click_probabilities(outputs).numpy(), atol=1e-6)
    assert first["row"].tolist() == list(range(1, 51))
    assert (first["predicted_click"] == (first["score"] >= said["threshold"])).all()


def test_a_report_and_a_run_done_again(story: tuple[Workspace, str, str], tmp_path: Path) -> None:
    workspace, pretrained, finetuned = story
    said = ok(workspace, "report", "--runs", finetuned, "--out", tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert said["runs"] == [finetuned] and said["bytes"] == len(text.encode())
    assert "python -m core pretrain --dataset story --architecture dnn --name mine" in text
    status, _, err = thaw(workspace, "report", "--sweep", "none", "--out", tmp_path / "none.html")
    assert status == 2 and "There is no sweep 'none'" in err
    for run_id in (pretrained, finetuned):
        assert ok(workspace, "verify", "--run", run_id)["same"]


def test_export_is_a_backbone_that_loads(story: tuple[Workspace, str, str], tmp_path: Path) -> None:
    workspace, _, finetuned = story
    ok(workspace, "export", "--run", finetuned, "--out", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "card.json",
        "model.onnx",
        "model.safetensors",
        "preprocessing",
        "run.json",
        "score.py",
    ]
    exported, own = (
        load_backbone(load_card(tmp_path / "out")),
        load_backbone(load_card(workspace.runs / finetuned / "model")),
    )
    assert all(
        torch.equal(a, b)
        for a, b in zip(exported.state_dict().values(), own.state_dict().values(), strict=True)
    )
    status, _, err = thaw(workspace, "export", "--run", finetuned, "--out", tmp_path / "out")
    assert status == 2 and "is not empty" in err
    other = tmp_path / "other"
    assert main(["--workspace", str(other), "import-backbone", str(tmp_path / "out")]) == 0
    names = [card.name for card in list_backbones(open_workspace(other)) if not card.bundled]
    assert names == ["mine, freeze depth 1, story"]


def test_rows_without_labels_are_prepared_as_source_rows(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "test.txt"
    path.write_bytes(text(rows(200, labelled=False)))
    ingested = ["--workspace", str(workspace.root), "ingest", str(path), "--name", "bare"]
    assert main([*ingested, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["labelled"], said["click_rate"], said["dataset"]["labelled"]) == (
        False,
        None,
        False,
    )
    assert said["dataset"]["parts"][0] == {"part": "source_train", "rows": 190, "clicks": None}
    assert main(ingested) == 0
    out = capsys.readouterr().out
    assert "rows without labels source train 190, source validation 10" in out and "nan" not in out
    assert main([*ingested, "--split", "column", "--column", "C1", "--target-values", "a"]) == 2
    assert "no column can tell a target domain" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["ingest", "no-such-file", "--name", "x"], "There is no file"),
        (["ingest", "README.md", "--name", "../x"], "name '../x' cannot be used"),
        (
            ["finetune", "--dataset", "d", "--backbone", "b", "--freeze-depth", "0"],
            "There is no dataset 'd'",
        ),
        (["evaluate", "--run", "r-none"], "There is no run 'r-none'"),
        (["simulate", "--rows", "0", "--out", "x"], "number of rows is 0"),
        (["runs", "--nonsense"], "unrecognized arguments"),
        (
            ["finetune", "--dataset", "d", "--backbone", "b"],
            "--freeze-depth --strategy is required",
        ),
        ([], "arguments are required"),
    ],
)
def test_bad_usage_and_bad_input_exit_with_2_and_a_message(
    words: list[str], sentence: str, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status = main(["--workspace", str(workspace.root), *words])
    except SystemExit as stop:
        status = int(stop.code or 0)
    captured = capsys.readouterr()
    assert status == 2
    assert captured.out == "" and sentence in captured.err and "Traceback" not in captured.err


def test_a_run_that_fails_exits_with_1_and_a_message(
    story: tuple[Workspace, str, str], tmp_path: Path
) -> None:
    workspace = open_workspace(shutil.copytree(story[0].root, tmp_path / "copy"))
    weights = next(workspace.backbones.glob("*/model.safetensors"))
    save_file({"other": torch.zeros(2)}, weights)
    status, out, err = thaw(
        workspace,
        "finetune",
        "--dataset",
        "story",
        "--backbone",
        "mine",
        "--freeze-depth",
        "0",
        "--device",
        "cpu",
    )
    assert (status, out) == (1, "")
    assert "failed: The weights 'model.safetensors' do not fit" in err and "Traceback" not in err


@pytest.mark.parametrize("words", [["samples"], ["samples", "--json"]])
def test_closing_a_reader_early_is_not_an_error(tmp_path: Path, words: list[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "core", "--workspace", str(tmp_path), *words]
    try:
        done = subprocess.run(
            command, cwd=PROJECT, stdout=write, stderr=subprocess.PIPE, check=False
        )
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")
