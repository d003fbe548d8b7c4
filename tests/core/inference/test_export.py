"""Exports: every click model as ONNX equals torch, and the script scores without Thaw as Thaw
does."""

import gzip
import json
import zipfile
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import torch

from core.data.datasets import Dataset, delete_dataset, list_datasets
from core.errors import BadInput, RunError
from core.inference import export as exports
from core.inference.export import _ScoringModule, _write_onnx, export_model
from core.inference.score_file import score_file
from core.jobs.requests import FinetuneRequest, PretrainRequest
from core.jobs.store import Run
from core.models.card import HeadSettings
from core.models.network import click_probabilities
from core.workspace import Workspace, hash_file
from tests.core.data.helpers import rows, text
from tests.core.inference.exported import run_exported_script, unusual_rows
from tests.core.models.references import CLICK_MODELS
from tests.core.models.small_networks import build_small_network
from tests.core.training.helpers import QUICK, pretrained, run_request


@pytest.fixture
def tuned(tiny: tuple[Workspace, Dataset]) -> tuple[Workspace, Run]:
    """A fine-tuning run with a two-class head."""
    workspace, dataset = tiny
    request = FinetuneRequest(
        dataset.id, pretrained(workspace, "deepfm").id, freeze_depth=1, train=QUICK
    )
    return workspace, run_request(workspace, request)


def test_the_script_alone_scores_as_thaw_does(tuned: tuple[Workspace, Run], tmp_path: Path) -> None:
    workspace, run = tuned
    said = export_model(workspace, run, tmp_path / "out")
    assert said["files"] == [
        "card.json", "model.onnx", "model.safetensors", "preprocessing/preprocessing.json",
        "preprocessing/vocabulary.parquet", "run.json", "score.py",
    ]  # fmt: skip
    assert said["onnx"]["checked"] and said["onnx"]["largest_difference"] <= 1e-5
    assert said["onnx"]["rows_from"] == "target test rows of tiny"
    assert json.loads((tmp_path / "out" / "card.json").read_text())["weights_sha256"] == hash_file(
        tmp_path / "out" / "model.safetensors"
    )
    lines = unusual_rows()
    labelled = text(lines) + (workspace.uploads / "tiny.tsv").read_bytes()
    (tmp_path / "labelled.tsv").write_bytes(labelled)
    unlabelled = gzip.compress(text([line[1:] for line in lines], "\r\n"))
    (tmp_path / "unlabelled.tsv.gz").write_bytes(unlabelled)
    for name in ("labelled.tsv", "unlabelled.tsv.gz"):
        score_file(workspace, run, tmp_path / name, tmp_path / "thaw.csv")
        done = run_exported_script(tmp_path / "out", name, "alone.csv")
        assert done.returncode == 0, done.stderr
        ours, theirs = pd.read_csv(tmp_path / "thaw.csv"), pd.read_csv(tmp_path / "alone.csv")
        assert len(ours) == len(theirs) >= 400 and ours["score"].nunique() > 300
        assert ours["row"].equals(theirs["row"])
        np.testing.assert_allclose(theirs["score"], ours["score"], atol=1e-5, rtol=0)
        assert run.result is not None and run.result.threshold is not None
        near = (ours["score"] - run.result.threshold).abs() < 1e-5
        assert (ours["predicted_click"] == theirs["predicted_click"])[~near].all()

    check_refusals(tmp_path / "out")


def check_refusals(folder: Path) -> None:
    """The exported script names what is wrong with a file, in a sentence."""
    for data, sentence in (
        (b"1\t2\n", "Row 1 of 'bad.tsv' has 2 columns"),
        (text([["0", "x"] + [""] * 38]), "Row 1 of 'bad.tsv': I1 is 'x', not a finite number"),
        (text([["0", "inf"] + [""] * 38]), "I1 is 'inf', not a finite number"),
        (text(rows(3)) + b"1\t2\n", "Row 4 of 'bad.tsv' has 2 columns instead of 40"),
        (b"", "holds no good row"),
        (text(rows(3))[:-20] + b"\x00" + b"\n", "NUL byte"),
        (gzip.compress(text(rows(300)))[:-40], "damaged or truncated"),
    ):
        (folder.parent / "bad.tsv").write_bytes(data)
        done = run_exported_script(folder, "bad.tsv", "new.csv")
        assert done.returncode == 2 and sentence in done.stderr and "Traceback" not in done.stderr
        assert not (folder.parent / "new.csv").exists()


@pytest.mark.parametrize("architecture", CLICK_MODELS)
def test_every_click_model_exports_for_any_number_of_rows(
    architecture: str, tmp_path: Path
) -> None:
    head = (
        HeadSettings((4,), "gelu", "softmax")
        if architecture in ("dcnv2", "tabm")
        else HeadSettings()
    )
    dense = 95
    rank = {"rank": 3} if architecture == "dcnv2" else {}
    network = build_small_network(architecture, head, (3,) * 39, dense, **rank)
    _write_onnx(_ScoringModule(network).eval(), tmp_path / "model.onnx", dense)
    session = onnxruntime.InferenceSession(
        str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    generator = np.random.default_rng(0)
    for count in (1, 7, 300):
        ids = generator.integers(0, 3, (count, 39)).astype(np.int32)
        numerics = generator.normal(size=(count, dense)).astype(np.float32)
        (scores,) = session.run(None, {"ids": ids, "numerics": numerics})
        with torch.no_grad():
            expected = click_probabilities(
                network((torch.from_numpy(ids), torch.from_numpy(numerics)))
            ).numpy()
        assert scores.shape == (count,) and (count == 1 or np.ptp(expected) > 1e-3)
        np.testing.assert_allclose(scores, expected, atol=1e-5, rtol=0)


def test_a_zip_holds_the_same_and_nothing_is_overwritten(
    tuned: tuple[Workspace, Run], tmp_path: Path
) -> None:
    workspace, run = tuned
    delete_dataset(list_datasets(workspace)[0])
    said = export_model(workspace, run, tmp_path / "mine.zip")
    assert (
        said["onnx"]["rows_from"] == "random rows, since the run's dataset is gone"
        and said["onnx"]["checked"]
    )
    with zipfile.ZipFile(tmp_path / "mine.zip") as archive:
        assert sorted(archive.namelist()) == [f"mine/{name}" for name in said["files"]]
        assert archive.testzip() is None
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".part")] == []
    with pytest.raises(BadInput, match="There is a file .*mine.zip' already"):
        export_model(workspace, run, tmp_path / "mine.zip")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(BadInput, match="is not empty"):
        export_model(workspace, run, tmp_path / "full")


def test_an_onnx_model_that_differs_is_not_exported(
    tuned: tuple[Workspace, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, run = tuned
    whole = exports._write_onnx

    def other_weights(scorer: exports._ScoringModule, path: Path, dense: int) -> None:
        bias = dict(scorer.named_parameters())["network.head.layers.0.bias"]
        bias.data.add_(0.01)
        whole(scorer, path, dense)
        bias.data.sub_(0.01)

    monkeypatch.setattr(exports, "_write_onnx", other_weights)
    with pytest.raises(RunError, match="differs from torch's by 0.00"):
        export_model(workspace, run, tmp_path / "out")
    assert not (tmp_path / "out").exists()

    def impossible(scorer: torch.nn.Module, path: Path, dense: int) -> None:
        raise TypeError("no operator for this")

    monkeypatch.setattr(exports, "_write_onnx", impossible)
    said = export_model(workspace, run, tmp_path / "out")
    assert (
        said["onnx"]["file"] is None
        and "cannot be written as ONNX: no operator for this" in said["onnx"]["why"]
    )
    assert "model.safetensors" in said["files"] and "score.py" not in said["files"]


def test_a_backbone_not_trained_on_clicks_exports_weights_alone(
    tiny: tuple[Workspace, Dataset], tmp_path: Path
) -> None:
    workspace, dataset = tiny
    request = PretrainRequest(
        dataset.id, "dnn", "fresh", QUICK, {"embedding": 4, "widths": [8]}, "none"
    )
    said = export_model(workspace, run_request(workspace, request), tmp_path / "out")
    assert said["onnx"] == {
        "file": None,
        "why": "The model's head was not trained on click labels, so it cannot score rows.",
    }
    assert "model.safetensors" in said["files"] and "model.onnx" not in said["files"]
