"""Calibrations made by hand, which change scores a good deal whatever a small run has learnt."""

import dataclasses
import json

import numpy as np
from scipy.special import expit, logit

from core.evaluation.recalibration import METHODS, RecalibrationMap
from core.inference.run_calibration import calibration_path, load_calibration
from core.jobs.store import Run
from core.workspace import Workspace


def steep(workspace: Workspace, run: Run) -> None:
    """Stores calibrations that change the scores of a run a good deal."""
    found = load_calibration(workspace, run)
    maps = {
        "none": RecalibrationMap(),
        "temperature": RecalibrationMap("temperature", slope=0.6),
        "platt": RecalibrationMap("platt", slope=1.3, intercept=-0.4),
        "isotonic": RecalibrationMap(
            "isotonic", knots=(0.1, 0.2, 0.25, 0.5), values=(0.05, 0.2, 0.2, 0.7)
        ),
    }
    fits = tuple(
        dataclasses.replace(found.recalibration.fits[0], map=maps[method]) for method in METHODS
    )
    recalibration = dataclasses.replace(found.recalibration, fits=fits, chosen="platt")
    stored = dataclasses.asdict(dataclasses.replace(found, recalibration=recalibration))
    calibration_path(workspace, run).write_text(json.dumps(stored), encoding="utf-8")


def apply_by_hand(method: str, scores: np.ndarray) -> np.ndarray:
    wide = scores.astype(np.float64)
    if method == "isotonic":
        return np.interp(wide, (0.1, 0.2, 0.25, 0.5), (0.05, 0.2, 0.2, 0.7))
    slope, intercept = {"none": (1, 0), "temperature": (0.6, 0), "platt": (1.3, -0.4)}[method]
    return np.asarray(expit(slope * logit(wide) + intercept))
