"""A run's calibration: stored at its end, used where the user says so, the same in every output."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from scipy.special import expit, logit

from core.data.datasets import Dataset, find_dataset
from core.errors import BadInput, Damaged
from core.evaluation.recalibration import METHODS, RecalibrationMap, recalibrate
from core.inference.evaluate_run import evaluate_on
from core.inference.export import export_model
from core.inference.run_calibration import (
    calibration_notes,
    calibration_path,
    effects_on_test_rows,
    load_calibration,
    use_calibration,
    used_map,
)
from core.inference.score_file import score_file
from core.jobs.predictions import read_predictions
from core.jobs.requests import BlendRequest, FinetuneRequest
from core.jobs.store import Run
from core.runs.blends import submit_blend
from core.runs.command_lines import command_line
from core.runs.verify import verify
from core.workspace import Workspace, open_workspace
from tests.core.data.helpers import text
from tests.core.inference.calibrated import apply_by_hand, steep
from tests.core.inference.exported import run_exported_script, unusual_rows
from tests.core.inference.stored_runs import CPU, stored_run
from tests.core.training.helpers import QUICK, pretrained, run_request

Trained = tuple[Workspace, Run, Path]


@pytest.fixture(scope="module")
def trained(tiny_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A fine-tuning run, and a file of rows to score."""
    place = tmp_path_factory.mktemp("calibrated")
    workspace = open_workspace(shutil.copytree(tiny_template, place / "tiny"))
    request = FinetuneRequest(
        find_dataset(workspace, "tiny").id,
        pretrained(workspace, "dnn").id,
        freeze_depth=1,
        train=QUICK,
    )
    rows = place / "rows.tsv"
    rows.write_bytes(text(unusual_rows(60)))
    return workspace, run_request(workspace, request), rows


def test_every_run_stores_its_fit_and_uses_none_until_told(trained: Trained) -> None:
    workspace, run, _ = trained
    found = load_calibration(workspace, run)
    assert calibration_path(workspace, run).exists() and found.used == "none"
    arrays = read_predictions(workspace, run.id)
    labels, scores = (arrays[f"target_validation_{name}"] for name in ("label", "score"))
    assert found.recalibration == recalibrate(labels, scores)
    # A run of an earlier version has no such file, and the same calibration.
    stored = calibration_path(workspace, run).read_bytes()
    calibration_path(workspace, run).unlink()
    assert load_calibration(workspace, run) == found
    assert used_map(workspace, run) == RecalibrationMap()
    calibration_path(workspace, run).write_bytes(stored)


@pytest.mark.parametrize("method", METHODS)
def test_scores_onnx_and_script_agree_on_calibrated_probabilities(
    trained: Trained, tmp_path: Path, method: str
) -> None:
    workspace, run, rows = trained
    steep(workspace, run)
    plain = score_file(workspace, run, rows, tmp_path / "plain.csv", calibration="none")
    done = score_file(workspace, run, rows, tmp_path / "scores.csv", calibration=method)
    raw, scored = (pd.read_csv(tmp_path / name) for name in ("plain.csv", "scores.csv"))
    np.testing.assert_allclose(
        scored["score"], apply_by_hand(method, raw["score"].to_numpy()), atol=1e-6
    )
    assert plain["calibration"]["method"] == "none" and done["calibration"]["method"] == method
    assert ("as trained" in done["calibration"]["sentence"]) == (method == "none")
    np.testing.assert_allclose(
        done["threshold"], apply_by_hand(method, np.array(plain["threshold"])), atol=1e-6
    )
    if method != "isotonic":
        assert (raw["predicted_click"] == scored["predicted_click"]).all()
    data = export_model(workspace, run, tmp_path / "out", method)
    assert data["onnx"]["checked"] and data["calibration"]["method"] == method
    session = onnxruntime.InferenceSession(str(tmp_path / "out" / "model.onnx"))
    assert len(session.get_outputs()) == (1 if method == "none" else 2)
    said = run_exported_script(tmp_path / "out", rows, tmp_path / "script.csv")
    assert said.returncode == 0
    assert (done["calibration"]["sentence"] in said.stdout) == (method != "none")
    by_script = pd.read_csv(tmp_path / "script.csv")
    np.testing.assert_allclose(by_script["score"], scored["score"], atol=1e-6)
    assert (by_script["predicted_click"] == scored["predicted_click"]).all()
    words = (rows, tmp_path / "script.csv", "--no-calibration")
    said = run_exported_script(tmp_path / "out", *words)
    assert ("as trained" in said.stdout) == (method != "none")
    again = pd.read_csv(tmp_path / "script.csv")
    np.testing.assert_allclose(again["score"], raw["score"], atol=1e-6)
    assert (again["predicted_click"] == raw["predicted_click"]).all()


def test_what_a_run_uses_is_what_scoring_evaluation_and_drift_have(
    trained: Trained, tmp_path: Path
) -> None:
    workspace, run, rows = trained
    steep(workspace, run)
    dataset = find_dataset(workspace, run.dataset)
    plain = evaluate_on(workspace, run, dataset)
    before = score_file(workspace, run, rows, tmp_path / "scores.csv")
    assert use_calibration(workspace, run).used == "platt"
    after = score_file(workspace, run, rows, tmp_path / "scores.csv")
    assert before["calibration"]["method"] == "none" and after["calibration"]["method"] == "platt"
    # The file's scores and those of the test rows move together, so that they drift no more.
    assert after["drift"]["scores"]["psi"] == pytest.approx(
        before["drift"]["scores"]["psi"], abs=0.05
    )
    calibrated = evaluate_on(workspace, run, dataset)
    arrays = read_predictions(workspace, run.id)
    wanted = apply_by_hand("platt", arrays["target_test_score"]).sum()
    ratio = wanted / arrays["target_test_label"].sum()
    assert calibrated["target_test"].predicted_over_actual == pytest.approx(ratio, abs=1e-5)
    assert calibrated["target_test"].f1 == plain["target_test"].f1
    assert evaluate_on(workspace, run, dataset, "none") == plain
    assert verify(workspace, run).same is False  # these maps are not those of its rows
    assert use_calibration(workspace, run, "none").used == "none"
    calibration_path(workspace, run).unlink()
    found = use_calibration(workspace, run, "temperature")
    assert verify(workspace, run).same
    effects = effects_on_test_rows(workspace, run, found.find("temperature").map)
    assert effects["target_test"].auc_before == effects["target_test"].auc_after


def test_blends_take_calibrated_members_and_can_be_calibrated(
    tiny: tuple[Workspace, Dataset],
) -> None:
    workspace, dataset = tiny
    runs = [stored_run(workspace, dataset, number) for number in (1, 2)]
    for run in runs:
        steep(workspace, run)
    ids = [run.id for run in runs]
    assert submit_blend(workspace, ids, run_here=True).blend_request.calibration == ()
    use_calibration(workspace, runs[1], "temperature")
    request = submit_blend(workspace, ids, run_here=True).blend_request
    assert dict(zip(request.runs, request.calibration, strict=True)) == {
        ids[0]: "none",
        ids[1]: "temperature",
    }
    assert request.arms[request.runs.index(ids[1])].endswith(", calibrated")
    assert command_line(workspace, request).endswith(
        f"--calibration {','.join(request.calibration)}"
    )
    mixed = submit_blend(workspace, ids, run_here=True, calibration=["isotonic", "none"])
    assert mixed.blend_request.calibration != request.calibration
    with pytest.raises(BadInput, match="3 calibrations were named for 2 runs"):
        submit_blend(workspace, ids, run_here=True, calibration=["none"] * 3)
    with pytest.raises(BadInput, match="number of calibrations is 1"):
        BlendRequest(dataset.id, ("r-1", "r-2"), calibration=("none",))

    blend = run_request(workspace, dataclasses.replace(request, train=CPU))
    assert blend.result is not None and blend.result.blend is not None
    logits = 0.0
    for member in blend.result.blend.runs:
        scores = read_predictions(workspace, member.run)["target_test_score"]
        method = "temperature" if member.run == ids[1] else "none"
        assert (member.calibration.method if member.calibration else "none") == method
        logits = logits + member.weight * logit(apply_by_hand(method, scores))
    found = read_predictions(workspace, blend.id)["target_test_score"]
    np.testing.assert_allclose(found, expit(logits), atol=1e-5)
    # The members' choice may change since: the blend is what it was.
    use_calibration(workspace, runs[1], "none")
    assert verify(workspace, blend).same
    assert use_calibration(workspace, blend, "platt").used == "platt"


def test_runs_without_validation_scores_or_with_a_damaged_file_say_so(
    tiny: tuple[Workspace, Dataset],
) -> None:
    workspace, dataset = tiny
    run = stored_run(workspace, dataset, 1)
    path = workspace.runs / run.id / "predictions.npz"
    arrays = dict(read_predictions(workspace, run.id))
    for name in ("auto", "none", "temperature", "platt"):
        assert load_calibration(workspace, run).find(name)
    with pytest.raises(BadInput, match="60 validation rows of this run determine no isotonic"):
        use_calibration(workspace, run, "isotonic")
    with pytest.raises(BadInput, match="no calibration method 'magic'"):
        use_calibration(workspace, run, "magic")
    calibration_path(workspace, run).write_text('{"recalibration": {"rows": 3}}')
    with pytest.raises(Damaged, match="delete the file"):
        load_calibration(workspace, run)
    calibration_path(workspace, run).unlink()
    kept = {name: array for name, array in arrays.items() if "validation" not in name}
    np.savez(path, **kept)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="stored no scores of target validation rows"):
        use_calibration(workspace, run)
    assert not calibration_path(workspace, run).exists()
    assert used_map(workspace, run).method == "none"
    queued = submit_blend(workspace, [run.id, stored_run(workspace, dataset, 2).id], run_here=True)
    with pytest.raises(BadInput, match="is queued, so there are no probabilities"):
        load_calibration(workspace, queued)


def test_a_run_notes_when_its_predicted_clicks_are_off(tiny: tuple[Workspace, Dataset]) -> None:
    workspace, dataset = tiny
    run = stored_run(workspace, dataset, 1)
    assert run.result is not None
    metrics = run.result.metrics["target_test"].as_dict()
    for low, high, noted in ((0.9, 0.97, True), (0.9, 1.1, False)):
        changed = metrics | {
            "predicted_over_actual": 0.95,
            "predicted_over_actual_low": low,
            "predicted_over_actual_high": high,
        }
        result = dataclasses.replace(
            run.result,
            metrics={"target_test": type(run.result.metrics["target_test"])(changed)},  # type: ignore[arg-type]
        )
        notes = calibration_notes(dataclasses.replace(run, result=result))
        assert bool(notes) == noted
        assert not noted or ("5.0 % too few" in notes[0] and "calibrate --run" in notes[0])
