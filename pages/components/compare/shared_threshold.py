"""One threshold for all chosen arms: what it decides in each of them, side by side."""

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
from pages.components.run.result import PART_TITLES, load_curves
from pages.components.shared.chart import chart
from pages.components.shared.choosers import choose_text
from pages.components.shared.common import number_column_config

N_BINS = 50


def shared_threshold_view(arms: Sequence[ArmResult]) -> None:
    """Slider, counts and overlays of one run of each arm."""
    parts = [part for part in PART_TITLES if all(part in one.auc for one in arms)]
    rows, seed_box, slider = st.columns([2, 1, 4], vertical_alignment="bottom")
    part = rows.segmented_control(
        "Rows",
        parts,
        format_func=PART_TITLES.__getitem__,
        default=parts[0],
        required=True,
        key="part",
        bind="query-params",
        help="Which test rows the numbers and figures below stand on. It changes no score.",
    )
    with seed_box:
        runs = run_per_arm(arms)
    threshold = slider.slider(
        "Threshold for all",
        0.0,
        1.0,
        _default_threshold(next(iter(runs.values()))),
        0.001,
        format="%.3f",
        key="one-threshold",
        bind="query-params",
        help=(
            "A row is a predicted click when its score is at least this, in every run. At first it"
            " stands where the validation rows of the first of them chose it."
        ),
    )
    counts, figures = _overlays(tuple(runs.items()), str(part), threshold)
    st.dataframe(
        pd.DataFrame([{"Arm": title, **of_arm} for title, of_arm in counts.items()]),
        hide_index=True,
        width="stretch",
        height="content",
        placeholder="–",
        alt="Confusion matrix, lift and ratios of every arm at the threshold",
        column_config={"Arm": st.column_config.TextColumn(pinned=True)}
        | number_column_config(next(iter(counts.values()))),
    )
    grid = st.columns(2)
    for place, (title, figure, alt) in enumerate(figures):
        with grid[place % 2]:
            st.markdown(f"**{title}**")
            chart(figure, f"one-{title}", 380, alt)


@lru_cache(maxsize=32)
def _overlays(
    runs: tuple[tuple[str, Run], ...], part: str, threshold: float
) -> tuple[dict[str, dict[str, float]], list[tuple[str, str, str]]]:
    """(counts by arm, (title, figure as JSON, what it shows) of every figure); kept as long as
    nothing is moved."""
    laid = {}
    for title, run in runs:
        at_all, roc, precision_recall, gains, bins = load_curves(run, part, "score")
        laid[title] = ArmCurves(
            title,
            roc,
            precision_recall,
            gains,
            bins,
            at_all.confusion_at(threshold),
            at_all.histogram(N_BINS),
        )
    at = laid[runs[-1][0]].at_threshold
    rate = (at.tp + at.fn) / max(at.tp + at.fn + at.fp + at.tn, 1)
    figures = (
        ("ROC", roc_overlay_figure(laid), "ROC curves with points at the threshold"),
        (
            "Precision and recall",
            precision_recall_overlay_figure(laid, rate),
            "Precision by recall with points",
        ),
        ("Calibration", calibration_overlay_figure(laid), "Click rate by mean score"),
        ("Gains", gains_overlay_figure(laid), "Clicks caught by rows taken, with points"),
        (
            "Lift",
            lift_overlay_figure(laid),
            "Click rate among the rows taken over that of all rows, with points",
        ),
        ("Scores", score_overlay_figure(laid, threshold), "Histogram of scores"),
    )
    drawn = [(title, str(figure.to_json()), alt) for title, figure, alt in figures]
    return {title: _counts(one.at_threshold) for title, one in laid.items()}, drawn


def run_per_arm(arms: Sequence[ArmResult]) -> dict[str, Run]:
    """A run of each arm, by title: of the seed that one chooses where arms have several, else their
    first."""
    seeds = sorted({_seed(run) for one in arms if len(one.runs) > 1 for run in one.runs})
    seed = None
    if seeds:
        about = "Curves are of one run of each arm: the one of this seed, else its first."
        seed = int(choose_text("Seed", [str(one) for one in seeds], "seed", about))
    return {
        one.title: next((run for run in one.runs if _seed(run) == seed), one.runs[0])
        for one in arms
    }


def _seed(run: Run) -> int:
    return run.seed


def _counts(at: ConfusionMatrix) -> dict[str, float]:
    rows = at.tp + at.fp + at.tn + at.fn
    acted = at.tp + at.fp
    rate = (at.tp + at.fn) / max(rows, 1)
    return {
        "True clicks": at.tp,
        "False clicks": at.fp,
        "Missed": at.fn,
        "True no-clicks": at.tn,
        "Precision": at.precision,
        "Recall": at.recall,
        "F1": at.f1,
        "Accuracy": at.accuracy,
        "Always-no": (at.tn + at.fp) / max(rows, 1),
        "Lift": at.precision / rate if acted and rate else float("nan"),
    }


def _default_threshold(run: Run) -> float:
    """The threshold that validation rows chose for the run, with the slider's three digits."""
    assert run.result is not None and run.result.threshold is not None
    return round(run.result.threshold, 3)
