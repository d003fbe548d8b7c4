"""Runs done again: the same bits, what differs by name, and refusals that say what is gone or has
changed."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from core.cli.parser import main
from core.data.datasets import Dataset, find_dataset
from core.errors import BadInput, Damaged
from core.inference.evaluate_run import evaluate_on
from core.inference.export import export_model
from core.inference.weight_drift import measure_weight_drift
from core.jobs.database import connect
from core.jobs.requests import FinetuneRequest, PretrainRequest
from core.jobs.run_result import result_from_json, result_to_json
from core.jobs.store import Run
from core.runs.verify import Difference, Verification, _identical, verify
from core.workspace import Workspace
from tests.core.data.helpers import fingerprint
from tests.core.training.helpers import QUICK, pretrained, run_request


@pytest.fixture
def tuned(tiny: tuple[Workspace, Dataset]) -> tuple[Workspace, Run]:
    """A fine-tuning run with dropout and BatchNorm, behind a cached prefix."""
    workspace, dataset = tiny
    card = pretrained(workspace, "dnn")
    return workspace, run_request(
        workspace, FinetuneRequest(dataset.id, card.id, freeze_depth=1, train=QUICK)
    )


def test_a_repeated_run_gives_the_same_numbers_and_leaves_nothing(
    tuned: tuple[Workspace, Run], capsys: pytest.CaptureFixture[str]
) -> None:
    workspace, run = tuned
    threads = torch.get_num_threads()
    before = fingerprint(workspace)
    found = verify(workspace, run)
    assert (
        found.same
        and found.weights_same
        and found.largest_score_difference == 0
        and not found.differences
    )
    assert found.compared > 50 and found.environment == () and found.threads == threads
    assert fingerprint(workspace) == before

    assert main(["--workspace", str(workspace.root), "verify", "--run", run.id, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["same"] and "identical, bit for bit, on cpu" in said["sentence"]


def test_other_numbers_and_other_surroundings_are_named(
    tuned: tuple[Workspace, Run], capsys: pytest.CaptureFixture[str]
) -> None:
    workspace, run = tuned
    assert run.result is not None
    result = json.loads(json.dumps(result_to_json(run.result)))
    result["metrics"]["target_test"]["auc"] = float(
        np.nextafter(result["metrics"]["target_test"]["auc"], 1)
    )
    result["before"]["source_test"]["log_loss"] += 0.25
    result["environment"]["torch"] = "1.0"
    del result["environment"]["cpu"]
    path = workspace.runs / run.id / "predictions.npz"
    with np.load(path) as arrays:
        changed = dict(arrays)
    changed["target_test_score"][3] += 0.125
    np.savez(path, **changed)
    found = verify(workspace, dataclasses.replace(run, result=result_from_json(result)))
    assert {one.name for one in found.differences} == {
        "metrics target_test auc",
        "before source_test log_loss",
    }
    assert not found.same and found.weights_same
    assert found.largest_score_difference == pytest.approx(0.125)
    assert ("torch", "1.0", torch.__version__) in found.environment
    assert ("cpu", "not recorded") in [one[:2] for one in found.environment]
    assert (
        "most of all before source_test log_loss" in found.sentence
        and "torch was 1.0 and is" in found.sentence
    )

    with connect(workspace) as db:
        db.execute("UPDATE runs SET result = ? WHERE id = ?", (json.dumps(result), run.id))
    assert main(["--workspace", str(workspace.root), "verify", "--run", run.id]) == 1
    assert "Not the same on cpu" in capsys.readouterr().out


def test_a_run_that_an_older_rule_trained_is_refused_with_what_has_changed(
    tiny: tuple[Workspace, Dataset],
) -> None:
    workspace, dataset = tiny
    card = pretrained(workspace, "dnn")
    train = dataclasses.replace(QUICK, epochs=1)
    run = run_request(workspace, FinetuneRequest(dataset.id, card.id, "auto-rgn", train=train))
    assert run.result is not None and verify(workspace, run).same
    # Results of versions up to 0.12 do not store the rule.
    stored = result_to_json(run.result)
    assert stored.pop("rule") == 2
    old = dataclasses.replace(run, result=result_from_json(stored))
    with pytest.raises(BadInput, match="rule of the strategy 'Auto-RGN' has changed since run"):
        verify(workspace, old)


@pytest.mark.parametrize("objective", ["supervised", "none"])
def test_pretraining_too(tiny: tuple[Workspace, Dataset], objective: str) -> None:
    workspace, dataset = tiny
    settings = {"embedding": 4, "widths": [8, 6]}
    run = run_request(
        workspace, PretrainRequest(dataset.id, "dnn", "mine", QUICK, settings, objective)
    )
    before = fingerprint(workspace)
    found = verify(workspace, run)
    assert found.same and found.weights_same and found.compared >= 4
    assert found.largest_score_difference == (0 if objective == "supervised" else None)
    assert fingerprint(workspace) == before


def test_refusals_say_what_is_gone_or_has_changed(tuned: tuple[Workspace, Run]) -> None:
    workspace, run = tuned
    assert run.result is not None
    weights = workspace.backbones / run.result.backbone / "model.safetensors"
    kept = weights.read_bytes()

    def refused(sentence: str, **changes: object) -> None:
        with pytest.raises(BadInput, match=sentence):
            verify(workspace, dataclasses.replace(run, **changes))  # type: ignore[arg-type]

    refused("is running; only a run that is done", status="running")
    refused("of the kind 'interpolate'", kind="interpolate")
    refused(
        "The dataset 'tiny' has changed since",
        result=dataclasses.replace(run.result, dataset_hash="f" * 64),
    )
    refused(
        "weights of the backbone 'small dnn' have changed",
        result=dataclasses.replace(run.result, backbone_sha256="0" * 64),
    )
    weights.write_bytes(kept[:-4] + b"\0\0\0\0")
    refused("weights of the backbone 'small dnn' have changed")
    weights.write_bytes(kept)
    # As after an update of Thaw that brings other bundled weights.
    bundled = dataclasses.replace(run.result, backbone="simulated-dnn", backbone_sha256="0" * 64)
    refused("it comes with Thaw, and another version of Thaw brought the old", result=bundled)
    refused("There is no backbone", result=dataclasses.replace(run.result, backbone="b-gone"))
    if not torch.cuda.is_available():
        refused("torch sees no GPU", result=dataclasses.replace(run.result, device="NVIDIA H100"))
    (workspace.runs / run.id / "predictions.npz").unlink()
    refused("weights or predictions of run .* are gone")
    description = next(Path(workspace.datasets).glob("d-*/dataset.json"))
    description.unlink()
    refused("dataset.json' is damaged: it is missing")
    shutil.rmtree(description.parent)
    refused("There is no dataset")


def test_what_is_missing_both_times_is_the_same_and_what_is_missing_once_differs_most() -> None:
    assert (
        _identical(None, float("nan"))
        and not _identical(None, 0.5)
        and not _identical(0.5, float("nan"))
    )
    differs = (
        Difference("threshold", 0.5, 0.1),
        Difference("metrics target_test auc_low", None, 0.7),
    )
    said = Verification("r-1", False, 9, differs, None, False, (), "cpu", 1).sentence
    assert "most of all metrics target_test auc_low (none then, 0.7 now)" in said


@pytest.mark.parametrize("damage", ["empty", "half", "folder"])
@pytest.mark.parametrize(
    "file",
    [
        "predictions.npz",
        "model/card.json",
        "model/model.safetensors",
        "model/preprocessing/vocabulary.parquet",
    ],
)
def test_a_damaged_file_of_the_run_is_named_by_whatever_reads_it(
    tuned: tuple[Workspace, Run], tmp_path: Path, file: str, damage: str
) -> None:
    workspace, run = tuned
    path = workspace.runs / run.id / file
    data = path.read_bytes()
    path.unlink()
    path.mkdir() if damage == "folder" else path.write_bytes(
        b"" if damage == "empty" else data[: len(data) // 2]
    )
    readers: list[Callable[[], object]] = [lambda: verify(workspace, run)]
    if file != "predictions.npz":
        readers += [
            lambda: export_model(workspace, run, tmp_path / "out"),
            lambda: measure_weight_drift(workspace, run),
            lambda: evaluate_on(workspace, run, find_dataset(workspace, run.dataset)),
        ]
    for read in readers:
        with pytest.raises(Damaged, match="launch the same run again") as caught:
            read()
        assert caught.value.path == path
    assert not (tmp_path / "out").exists()
