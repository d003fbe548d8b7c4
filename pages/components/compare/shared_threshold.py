"""One threshold for all arms chosen arms: counts, metrics and curves side by side."""

from collections.abc import Sequence
from functools import lru_cache

import pandas as pd
import streamlit as st

from core.evaluation.curves import ConfusionMatrix
from core.jobs.store import Run
from core.report.overlay_figures import (
    ArmCurves,
    calibration_overlay_figure,
    gains_overlay_figure,
    lift_overlay_figure,
    precision_recall_overlay_figure,
    roc_overlay_figure,
    score_overlay_figure,
)
from core.runs.sweep_result import ArmResult
from pages.components.shared import url_state
from pages.components.shared.arm_column import arm_column
from pages.components.shared.chart import chart
from pages.components.shared.choosers import choose_text
from pages.components.shared.common import number_column_config
from pages.components.shared.run_predictions import PART_TITLES, load_curves

N_BINS = 50


def shared_threshold_view(arms: Sequence[ArmResult]) -> None:
    """Draw the slider, the table of counts and the overlays, with one run per arm."""
    parts = [part for part in PART_TITLES if all(part in arm.auc for arm in arms)]
    rows, seed_box, slider = st.columns([2, 1, 4], vertical_alignment="bottom")
    part = rows.segmented_control(
        "Rows",
        parts,
        format_func=PART_TITLES.__getitem__,
        default=parts[0],
        required=True,
        key="part",
        bind=url_state.BOUND,
        help="The test rows used for the numbers and figures below. It changes no score.",
    )
    with seed_box:
        runs = run_per_arm(arms)
    threshold = slider.slider(
        "Threshold for all arms",
        0.0,
        1.0,
        _default_threshold(next(iter(runs.values()))),
        0.001,
        format="%.3f",
        key="one-threshold",
        bind=url_state.BOUND,
        help=(
            "A row is a predicted click when its score is at least this, in every run. The "
            "default is the threshold of the first run, chosen on validation rows."
        ),
    )
    counts, figures = _overlays(tuple(runs.items()), str(part), threshold)
    st.dataframe(
        pd.DataFrame([{"Arm": title, **numbers} for title, numbers in counts.items()]),
        hide_index=True,
        width="stretch",
        height="content",
        placeholder="–",
        alt="Confusion matrix, lift and ratios of every arm at the threshold",
        column_config={"Arm": arm_column(counts)}
        | number_column_config(next(iter(counts.values()))),
    )
    grid = st.columns(2)
    for index, (title, figure, alt) in enumerate(figures):
        with grid[index % 2]:
            st.markdown(f"**{title}**")
            chart(figure, f"one-{title}", 380, alt)


@lru_cache(maxsize=32)
def _overlays(
    runs: tuple[tuple[str, Run], ...], part: str, threshold: float
) -> tuple[dict[str, dict[str, float]], list[tuple[str, str, str]]]:
    """Return (counts by arm, (title, figure as JSON, alt text) of every figure), cached."""
    curves_by_arm = {}
    for title, run in runs:
        table, roc, precision_recall, gains, bins = load_curves(run, part, "score")
        curves_by_arm[title] = ArmCurves(
            title,
            roc,
            precision_recall,
            gains,
            bins,
            table.confusion_at(threshold),
            table.histogram(N_BINS),
        )
    at = curves_by_arm[runs[-1][0]].at_threshold
    rate = (at.tp + at.fn) / max(at.tp + at.fn + at.fp + at.tn, 1)
    figures = (
        ("ROC", roc_overlay_figure(curves_by_arm), "ROC curves with points at the threshold"),
        (
            "Precision and recall",
            precision_recall_overlay_figure(curves_by_arm, rate),
            "Precision by recall with points",
        ),
        ("Calibration", calibration_overlay_figure(curves_by_arm), "Click rate by mean score"),
        ("Gains", gains_overlay_figure(curves_by_arm), "Clicks caught by rows taken, with points"),
        (
            "Lift",
            lift_overlay_figure(curves_by_arm),
            "Click rate among the rows taken over that of all rows, with points",
        ),
        ("Scores", score_overlay_figure(curves_by_arm, threshold), "Histogram of scores"),
    )
    drawn = [(title, str(figure.to_json()), alt) for title, figure, alt in figures]
    return {title: _counts(curves.at_threshold) for title, curves in curves_by_arm.items()}, drawn


def run_per_arm(arms: Sequence[ArmResult]) -> dict[str, Run]:
    """Return one run of each arm by title.

    It is the run with the chosen seed, otherwise the arm's first.
    """
    seeds = sorted({run.seed for arm in arms if len(arm.runs) > 1 for run in arm.runs})
    seed = None
    if seeds:
        help_text = "Curves show one run of each arm: the one with this seed, otherwise its first."
        seed = int(choose_text("Seed", [str(value) for value in seeds], "seed", help_text))
    return {
        arm.title: next((run for run in arm.runs if run.seed == seed), arm.runs[0]) for arm in arms
    }


def _counts(at: ConfusionMatrix) -> dict[str, float]:
    rows = at.tp + at.fp + at.tn + at.fn
    acted = at.tp + at.fp
    rate = (at.tp + at.fn) / max(rows, 1)
    return {
        "True positives": at.tp,
        "False positives": at.fp,
        "False negatives": at.fn,
        "True negatives": at.tn,
        "Precision": at.precision,
        "Recall": at.recall,
        "F1": at.f1,
        "Accuracy": at.accuracy,
        "Predicting no click": (at.tn + at.fp) / max(rows, 1),
        "Lift": at.precision / rate if acted and rate else float("nan"),
    }


def _default_threshold(run: Run) -> float:
    """The threshold that validation rows chose for the run, with the slider's three digits."""
    assert run.result is not None and run.result.threshold is not None
    return round(run.result.threshold, 3)
