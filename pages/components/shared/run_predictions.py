"""Predictions of finished runs and the curves made from them, cached across sessions."""

from pathlib import Path

import numpy as np
import streamlit as st

from core.evaluation.curves import (
    CalibrationBins,
    Curve,
    ThresholdTable,
    calibration_curve,
    cumulative_gains,
    precision_recall_curve,
    roc_curve,
    threshold_table,
)
from core.evaluation.verdict_sentences import describe_comparison
from core.evaluation.verdicts import compare_two
from core.jobs.predictions import PREDICTIONS_FILE, read_predictions
from core.jobs.store import Run
from pages.components.shared.common import workspace

PART_TITLES = {"target_test": "Target test rows", "source_test": "Source test rows"}

ScoreCurves = tuple[ThresholdTable, Curve, Curve, Curve, CalibrationBins]

"""See `cached_curves`."""


# cache_resource, not cache_data: that one copies on every rerun, which for a million rows takes
# longer than everything else.
@st.cache_resource(max_entries=16, show_spinner=False)
def cached_predictions(path: str, modified: int, size: int) -> dict[str, np.ndarray]:
    """Return the arrays of a predictions file; `modified` and `size` are part of the cache key."""
    return read_predictions(workspace(), Path(path).parent.name)


def load_predictions(run: Run) -> dict[str, np.ndarray]:
    """Return the run's predictions, read once."""
    path: Path = workspace().runs / run.id / PREDICTIONS_FILE
    try:
        stat = path.stat()
    except OSError:
        # The read fails too, with a sentence about what is wrong.
        return read_predictions(workspace(), run.id)
    return cached_predictions(str(path), stat.st_mtime_ns, stat.st_size)


def load_curves(run: Run, part: str, name: str) -> ScoreCurves:
    """Return `cached_curves` of a run.

    Raises:
        Damaged: its predictions cannot be read.
    """
    load_predictions(run)
    path = workspace().runs / run.id / PREDICTIONS_FILE
    return cached_curves(str(path), path.stat().st_mtime_ns, part, name)


@st.cache_resource(max_entries=32, show_spinner=False)
def cached_curves(path: str, modified: int, part: str, name: str) -> ScoreCurves:
    """Return the curves of one score of one part.

    Returns:
        (threshold table, ROC, precision-recall, gains, calibration).
    """
    arrays = cached_predictions(path, modified, Path(path).stat().st_size)
    labels, scores = arrays[f"{part}_label"], arrays[f"{part}_{name}"]
    table = threshold_table(labels, scores)
    return (
        table,
        roc_curve(table),
        precision_recall_curve(table),
        cumulative_gains(table),
        calibration_curve(labels, scores),
    )


def describe_change(run: Run, part: str) -> str:
    """Say whether a run differs from its backbone in AUC and log loss; noise is never ranked.

    Args:
        run: finished, with scores of its backbone.
        part: of the rows, such as "target_test".
    """
    arrays = load_predictions(run)
    labels, after, before = (arrays[f"{part}_{name}"] for name in ("label", "score", "before"))
    found = compare_two(
        labels,
        after,
        before,
        ("this run", "the backbone"),
        (score_key(run, f"{part}_score"), score_key(run, f"{part}_before")),
    )
    return f"this run {describe_comparison(found)}"


def score_key(run: Run, array: str) -> str:
    """Return what comparisons of an array of a run's predictions are cached by."""
    return f"{run.id} {run.finished} {array}"
