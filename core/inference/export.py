"""Export a finished run: weights, ONNX, preprocessing, threshold, card and a script that scores."""

import dataclasses
import shutil
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from core.data.dataset_rows import load_encoded
from core.data.datasets import select_test_rows
from core.data.preprocessing import load_preprocessing
from core.data.schema import FIELDS
from core.errors import BadInput, RunError, caused_by_system
from core.evaluation.recalibration import NONE, RecalibrationMap
from core.files.durable import staging
from core.files.outputs import check_output, output_folder, write_output
from core.files.typed_json import to_json
from core.inference.calibration_module import CalibrationModule
from core.inference.run_calibration import describe_calibration, has_scores, used_map
from core.inference.run_model import load_model_card
from core.inference.score_drift import load_training_reference
from core.inference.unknown_values import known_shares
from core.jobs.requests import request_to_json
from core.jobs.run_result import result_to_json
from core.jobs.store import Run
from core.models.backbone import WEIGHTS_FILE, load_backbone
from core.models.card import BackboneCard
from core.models.network import Network, click_probabilities
from core.training.run_dataset import find_run_dataset
from core.workspace import PROJECT, Workspace, write_json

ONNX = "model.onnx"
SCRIPT = PROJECT / "assets" / "score.py"
TOLERANCE = 1e-5
"""Largest difference allowed between a click probability of the ONNX model and torch's."""
CHECKED_ROWS = 2048
OPSET = 17
PROBABILITY, UNCALIBRATED = "click_probability", "uncalibrated_probability"
"""Outputs of the ONNX model; the second one only where the first is calibrated."""


def export_model(
    workspace: Workspace, run: Run, target: Path, calibration: str | None = None
) -> dict[str, Any]:
    """Write a run's model to a folder, or to an archive if the name ends with .zip: all or nothing.

    Writes model.safetensors, card.json, preprocessing/ and run.json (request, result, threshold);
    if the model scores clicks also model.onnx and score.py. The ONNX model is first compared with
    torch on encoded rows. Calibrated probabilities are the first output of the ONNX model, and the
    threshold is theirs; the second output are then those as trained.

    Args:
        workspace: of the run.
        run: a run that is done.
        target: folder or .zip file, which must not exist.
        calibration: method by which the probabilities are calibrated, one of
            `core.inference.run_calibration.METHOD_CHOICES`; None for the one that the run uses.

    Returns:
        JSON-ready: what was written, how the ONNX model was checked, and the `calibration`, None
        where the model scores no clicks.

    Raises:
        BadInput: before any work is done, if `target` exists or cannot be written, or the run has
            no such calibration.
        RunError: a score of the ONNX model differs from torch's by more than `TOLERANCE`.
    """
    card = load_model_card(workspace, run)
    used = used_map(workspace, run, calibration) if has_scores(run) else RecalibrationMap()
    as_archive = target.suffix == ".zip"
    if as_archive:
        check_output(target)
        if target.exists():
            raise BadInput(f"There is a file {str(target)!r} already; name a new one.")
    with _open_archive(workspace, target) if as_archive else output_folder(target) as folder:
        onnx = _write_model(workspace, run, card, folder, used)
        files = _list_files(folder)
    stages = [dataclasses.asdict(stage) for stage in card.stages]
    return {
        "run": run.id,
        "out": str(target),
        "architecture": card.architecture,
        "stages": stages,
        "files": files,
        "onnx": onnx,
        "calibration": _describe(used) if has_scores(run) else None,
    }


def _describe(used: RecalibrationMap) -> dict[str, Any]:
    return to_json(used) | {"sentence": describe_calibration(used)}


@contextmanager
def _open_archive(workspace: Workspace, target: Path) -> Iterator[Path]:
    """Yield a temporary folder and write it as the archive `target` at the end.

    It is written only if the block ends without an error.
    """

    def pack(part: Path) -> None:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as writer:
            for name in _list_files(folder):
                writer.write(folder / name, f"{folder.name}/{name}")

    with staging(workspace.cache) as parent:
        folder = parent / target.stem
        folder.mkdir()
        yield folder
        write_output(target, pack)


def _list_files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


class _ScoringModule(nn.Module):
    """The network with click probabilities as its output.

    Takes ids, int ``(rows, fields)``, and numerics, float ``(rows, dense)``; returns probabilities
    ``(rows,)``, or a pair of calibrated ones and those as trained.
    """

    def __init__(self, network: Network, calibration: RecalibrationMap | None = None) -> None:
        super().__init__()
        self.network = network
        self.calibration = None
        if calibration is not None and calibration.method != NONE:
            self.calibration = CalibrationModule(calibration)

    def forward(self, ids: Tensor, numerics: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        scores = click_probabilities(self.network((ids, numerics)))
        return scores if self.calibration is None else (self.calibration(scores), scores)


def _write_model(
    workspace: Workspace, run: Run, card: BackboneCard, folder: Path, used: RecalibrationMap
) -> dict[str, Any]:
    assert run.result is not None
    for name in (WEIGHTS_FILE, "card.json"):
        shutil.copy2(card.folder / name, folder / name)
    shutil.copytree(card.folder / "preprocessing", folder / "preprocessing")
    threshold = run.result.threshold
    calibrated = {}
    if threshold is not None:
        calibrated = {"calibration": _describe(used), "uncalibrated_threshold": threshold}
    description = {
        "run": run.id,
        "name": run.name,
        "threshold": threshold if threshold is None else used.apply_to(threshold),
        **calibrated,
        "request": request_to_json(run.request),
        "result": result_to_json(run.result),
    }
    known = (
        {"known_in_training": _known_in_training(workspace, run, card)}
        if threshold is not None
        else {}
    )
    write_json(folder / "run.json", description | known)
    if threshold is None:
        return {
            "file": None,
            "why": "The model's head was not trained on click labels, so it cannot score rows.",
        }
    preprocessing = load_preprocessing(card.folder / "preprocessing")
    scorer = _ScoringModule(load_backbone(card), used).eval()
    try:
        _write_onnx(scorer, folder / ONNX, preprocessing.n_dense)
    except Exception as error:
        if caused_by_system(error):
            raise
        # An architecture may use operations that ONNX does not have. The weights are exported
        # anyway, and the reason is told.
        (folder / ONNX).unlink(missing_ok=True)
        reason = (
            str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        )
        return {
            "file": None,
            "why": f"The architecture {card.architecture!r} cannot be written as ONNX: {reason}",
        }
    shutil.copyfile(SCRIPT, folder / SCRIPT.name)
    return {"file": ONNX} | _compare_with_torch(
        scorer, folder / ONNX, *_rows_to_check(workspace, run, card)
    )


def _known_in_training(workspace: Workspace, run: Run, card: BackboneCard) -> dict[str, float]:
    """Return, by field, the share of the training rows whose value the model knows.

    score.py compares a file with these shares.
    """
    preprocessing = load_preprocessing(card.folder / "preprocessing")
    reference = load_training_reference(workspace, run, preprocessing)
    shares = known_shares(preprocessing, reference.counts if reference else None)
    return {field: round(float(share), 6) for field, share in zip(FIELDS, shares, strict=True)}


def _write_onnx(scorer: _ScoringModule, path: Path, dense: int) -> None:
    example = (torch.zeros(2, len(FIELDS), dtype=torch.int32), torch.zeros(2, dense))
    rows = {0: "rows"}
    outputs = [PROBABILITY] if scorer.calibration is None else [PROBABILITY, UNCALIBRATED]
    with warnings.catch_warnings(), torch.no_grad():
        # torch warns that this exporter is deprecated and that traced shapes are constants. Those
        # do not change; the number of rows does, and the check runs other numbers than two.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            scorer,
            example,
            str(path),
            dynamo=False,
            input_names=["ids", "numerics"],
            output_names=outputs,
            dynamic_axes=dict.fromkeys(("ids", "numerics", *outputs), rows),
            opset_version=OPSET,
        )


def _rows_to_check(
    workspace: Workspace, run: Run, card: BackboneCard
) -> tuple[np.ndarray, np.ndarray, str]:
    """Return ``(ids, numerics, origin)`` of the rows that the export is checked with.

    They are test rows of the run's dataset, or random rows if the dataset is gone. `origin` says
    which.
    """
    preprocessing = load_preprocessing(card.folder / "preprocessing")
    try:
        dataset = find_run_dataset(workspace, run)
        rows = load_encoded(workspace, dataset, preprocessing)
        index = np.sort(select_test_rows(dataset, "target")[:CHECKED_ROWS])
        return (
            np.asarray(rows.ids[index]),
            np.asarray(rows.numerics[index]),
            f"target test rows of {dataset.name}",
        )
    except BadInput:
        generator = np.random.default_rng(0)
        sizes = preprocessing.field_sizes
        ids = np.stack(
            [generator.integers(0, size, CHECKED_ROWS) for size in sizes], axis=1
        ).astype(np.int32)
        numerics = generator.normal(size=(CHECKED_ROWS, preprocessing.n_dense)).astype(np.float32)
        return ids, numerics, "random rows, since the run's dataset is gone"


def _compare_with_torch(
    scorer: _ScoringModule, path: Path, ids: np.ndarray, numerics: np.ndarray, origin: str
) -> dict[str, Any]:
    try:
        import onnxruntime
    except ImportError:
        return {
            "checked": False,
            "why": "onnxruntime is not installed, so the ONNX model was not compared with torch.",
        }
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        found = scorer(torch.from_numpy(ids), torch.from_numpy(numerics))
        expected = (found if isinstance(found, Tensor) else found[0]).numpy()
    largest = 0.0
    # Many rows and a single one: a number of rows fixed by the export would show here.
    for count in (len(ids), 1):
        scores = session.run(None, {"ids": ids[:count], "numerics": numerics[:count]})[0]
        largest = max(largest, float(np.abs(scores - expected[:count]).max()))
    if not largest <= TOLERANCE:
        raise RunError(
            f"A score of the ONNX model differs from torch's by {largest:.2g}, more than"
            f" {TOLERANCE:g}; nothing was exported."
        )
    return {
        "checked": True,
        "rows": len(ids),
        "rows_from": origin,
        "largest_difference": largest,
        "tolerance": TOLERANCE,
    }
