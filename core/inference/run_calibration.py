"""Calibrations of a run: fitted at its end, stored with it, and used where the user says so.

The file calibration.json in the run's folder holds what the run's validation rows say
(`core.evaluation.recalibration`) and which method is used; "none" until the user chooses one.
Scoring, export and blends then apply that map. Nothing else that is stored of the run changes.
"""

from dataclasses import dataclass
from pathlib import Path

from core.errors import BadInput
from core.evaluation.calibration import calibration_of_metrics
from core.evaluation.calibration_effect import CalibrationEffect, measure_effect
from core.evaluation.recalibration import (
    METHODS,
    MIN_BIN_ROWS,
    MIN_CLASS_ROWS,
    NONE,
    TITLES,
    MethodFit,
    Recalibration,
    RecalibrationMap,
    recalibrate,
)
from core.files.typed_json import to_json
from core.jobs.predictions import read_predictions
from core.jobs.run import Run
from core.program import PROGRAM
from core.read_only import require_writable
from core.stored import load_stored, parse_stored
from core.workspace import Workspace, write_json

CALIBRATION_FILE = "calibration.json"
AUTO = "auto"
"""The method that the validation rows choose."""
METHOD_CHOICES = (AUTO, *METHODS)
_ROWS = "target_validation"
_TEST_PARTS = ("target_test", "source_test")
_DAMAGE_ADVICE = "delete the file; the calibration is then fitted again"


@dataclass(frozen=True)
class RunCalibration:
    """What is stored of a run's calibration.

    Args:
        recalibration: what its validation rows say.
        used: the method that scoring, export and blends apply, one of METHODS.
    """

    recalibration: Recalibration
    used: str = NONE

    def find(self, method: str) -> MethodFit:
        """Return the fit of a method, of "auto" that of the chosen one.

        Raises:
            BadInput: there is no such method, or the validation rows determine no such map.
        """
        if method not in METHOD_CHOICES:
            raise BadInput(
                f"There is no calibration method {method[:40]!r}; there are"
                f" {', '.join(METHOD_CHOICES)}."
            )
        fit = self.recalibration.find(self.recalibration.chosen if method == AUTO else method)
        if fit is None:
            raise BadInput(
                f"The {self.recalibration.rows:,} validation rows of this run determine no"
                f" {TITLES[method]}: it takes {MIN_CLASS_ROWS} rows of each class"
                f" ({2 * MIN_BIN_ROWS} rows for isotonic regression), and scores that rank clicks"
                " above the others without separating them. Choose another method."
            )
        return fit

    @property
    def choice_sentence(self) -> str:
        """What the validation rows choose, in words."""
        chosen = self.recalibration.find(self.recalibration.chosen)
        assert chosen is not None
        rows = f"{self.recalibration.rows:,} validation rows"
        if len(self.recalibration.fits) == 1:
            return (
                f"The {rows} are too few to fit a calibration, which takes {MIN_CLASS_ROWS} of each"
                " class."
            )
        if chosen.map.method == NONE:
            return (
                f"On {rows} no recalibration lowers the cross-validated log loss by more than its"
                " standard error: the probabilities are best left as they are."
            )
        return (
            f"On {rows} {TITLES[chosen.map.method]} is chosen: it changes the cross-validated log"
            f" loss by {chosen.change:+.4f} nats (standard error {chosen.standard_error:.4f})."
        )


def has_scores(run: Run) -> bool:
    """Return whether a run is done and scores clicks, so that it can be calibrated."""
    return (
        run.status == "done"
        and run.result is not None
        and run.result.threshold is not None
        and run.kind != "interpolate"
    )


def load_calibration(workspace: Workspace, run: Run) -> RunCalibration:
    """Return the calibration of a run.

    Of a run of an earlier version, which stored none, it is fitted now from the scores of its
    validation rows.

    Raises:
        BadInput: the run is not done, scores no clicks, or stored no scores of validation rows.
        Damaged: the calibration or the predictions are damaged.
    """
    if not has_scores(run):
        why = f"is {run.status}"
        if run.status == "done":
            why = "has no model that was trained on clicks"
        raise BadInput(f"Run {run.id} {why}, so there are no probabilities to calibrate.")
    path = calibration_path(workspace, run)
    if not path.exists():
        return RunCalibration(_fit(workspace, run))
    return load_stored(path, _DAMAGE_ADVICE, lambda values: parse_stored(RunCalibration, values))


def calibration_path(workspace: Workspace, run: Run) -> Path:
    """Return where the calibration of a run is stored."""
    return workspace.runs / run.id / CALIBRATION_FILE


def used_map(workspace: Workspace, run: Run, method: str | None = None) -> RecalibrationMap:
    """Return the map by which a run's scores are calibrated.

    Args:
        workspace: of the run.
        run: a run that is done and scores clicks.
        method: one of METHOD_CHOICES; None for the one that the run uses.

    Raises:
        BadInput: see `load_calibration` and `RunCalibration.find`.
    """
    # Most runs use none: these need neither file nor validation rows.
    if method == NONE or (method is None and not calibration_path(workspace, run).exists()):
        return RecalibrationMap()
    found = load_calibration(workspace, run)
    return found.find(found.used if method is None else method).map


def used_method(workspace: Workspace, run: Run, method: str | None = None) -> str:
    """Return the method of `used_map`, such as "none"."""
    return used_map(workspace, run, method).method


def store_calibration(workspace: Workspace, run: Run) -> None:
    """Fit the calibration of a run that has just ended and store it, to be used later.

    Nothing is stored where the run has no scores of validation rows.

    Args:
        workspace: holds the run's predictions.
        run: its result is not read.
    """
    arrays = read_predictions(workspace, run.id, [f"{_ROWS}_label", f"{_ROWS}_score"])
    if len(arrays) == 2 and len(arrays[f"{_ROWS}_label"]):
        write_json(calibration_path(workspace, run), to_json(RunCalibration(_fit(workspace, run))))


def use_calibration(workspace: Workspace, run: Run, method: str = AUTO) -> RunCalibration:
    """Choose the calibration that a run's scores get from now on, and store the choice.

    Args:
        workspace: of the run.
        run: a run that is done and scores clicks.
        method: one of METHOD_CHOICES; "none" turns it off.

    Raises:
        BadInput: see `load_calibration` and `RunCalibration.find`.
    """
    require_writable()
    found = load_calibration(workspace, run)
    used = RunCalibration(found.recalibration, found.find(method).map.method)
    write_json(calibration_path(workspace, run), to_json(used))
    return used


def effects_on_test_rows(
    workspace: Workspace, run: Run, calibration: RecalibrationMap
) -> dict[str, CalibrationEffect]:
    """Return what a map does on the run's target and source test rows, by part."""
    names = [f"{part}_{what}" for part in _TEST_PARTS for what in ("label", "score")]
    arrays = read_predictions(workspace, run.id, names)
    return {
        part: measure_effect(arrays[f"{part}_label"], arrays[f"{part}_score"], calibration)
        for part in _TEST_PARTS
        if f"{part}_label" in arrays and len(arrays[f"{part}_label"])
    }


def describe_calibration(used: RecalibrationMap) -> str:
    """Say which probabilities are written, by the map that made them."""
    if used.method == NONE:
        return "Probabilities as trained, not recalibrated."
    return f"Calibrated probabilities: {used.sentence}, fitted on validation rows."


def calibration_notes(run: Run) -> list[str]:
    """Return a note where target test rows show too many or too few predicted clicks."""
    metrics = run.result.metrics.get("target_test") if run.result else None
    sentence = calibration_of_metrics(metrics).ratio_sentence
    if not sentence:
        return []
    command = f"{PROGRAM} calibrate --run {run.id} --dry-run"
    return [f"On target test rows: {sentence} `{command}` shows what recalibration can do."]


def calibration_command(run: Run, method: str = AUTO) -> str:
    """Return the command that uses a method from now on."""
    return f"{PROGRAM} calibrate --run {run.id} --method {method}"


def _fit(workspace: Workspace, run: Run) -> Recalibration:
    arrays = read_predictions(workspace, run.id, [f"{_ROWS}_label", f"{_ROWS}_score"])
    if len(arrays) < 2 or not len(arrays[f"{_ROWS}_label"]):
        raise BadInput(
            f"Run {run.id} stored no scores of target validation rows, on which a calibration is"
            " fitted; prepare its dataset with validation rows of the target and launch it again."
        )
    return recalibrate(arrays[f"{_ROWS}_label"], arrays[f"{_ROWS}_score"])
