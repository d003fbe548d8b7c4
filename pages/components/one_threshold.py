"""One threshold for all chosen runs: what it decides in each of them, side by side."""

import pandas as pd
import streamlit as st

from core.evaluation.curves import Confusion
from core.report.overlay_figures import (
    Axis,
    Laid,
    calibration_overlay,
    gains_points,
    parallel_coordinates,
    precision_recall_points,
    roc_points,
    score_overlay,
)
from core.runs.store import Run
from pages.components.chart import chart
from pages.components.common import workspace
from pages.components.result import PART_TITLES, curves, predictions_of
from pages.components.run_table import strategy_of


def one_threshold(runs: list[Run], labels: dict[str, str]) -> None:
    """Slider, counts and overlays; for runs tested on the same rows."""
    parts = [part for part in PART_TITLES if all(f"{part}_label" in predictions_of(run) for run in runs)]
    if not parts:
        return
    rows, slider = st.columns([1, 2], vertical_alignment="bottom")
    part = rows.segmented_control(
        "Rows",
        parts,
        format_func=PART_TITLES.__getitem__,
        default=parts[0],
        required=True,
        key="one-part",
        help="Which test rows the numbers and figures below stand on. It changes no score.",
    )
    threshold = slider.slider(
        "Threshold for all",
        0.0,
        1.0,
        0.5,
        0.001,
        format="%.3f",
        key="one-threshold",
        bind="query-params",
        help="A row is a predicted click when its score is at least this, in every run.",
    )
    laid, table = {}, []
    for run in runs:
        path = workspace().runs / run.id / "predictions.npz"
        at_all, roc, precision_recall, gains, bins = curves(str(path), path.stat().st_mtime_ns, part, "score")
        at = at_all.at(threshold)
        scores = predictions_of(run)[f"{part}_score"]
        laid[run.id] = Laid(labels[run.id], roc, precision_recall, gains, bins, at, scores)
        table.append({"Run": labels[run.id], **_counts(at)})
    st.dataframe(
        pd.DataFrame(table).round(4), hide_index=True, width="stretch", height="content", alt="Counts at the threshold"
    )
    rate = (at.tp + at.fn) / max(at.tp + at.fn + at.fp + at.tn, 1)
    grid = st.columns(2)
    figures = (
        ("ROC", roc_points(laid), "ROC curves with points at the threshold"),
        ("Precision and recall", precision_recall_points(laid, rate), "Precision by recall with points"),
        ("Calibration", calibration_overlay(laid), "Click rate by mean score"),
        ("Gains", gains_points(laid), "Clicks caught by rows taken, with points"),
        ("Scores", score_overlay(laid, threshold), "Histogram of scores"),
    )
    for place, (title, figure, alt) in enumerate(figures):
        with grid[place % 2]:
            st.markdown(f"**{title}**")
            chart(figure, f"one-{title}", 340, alt)


def settings_and_results(runs: list[Run]) -> None:
    """Parallel coordinates of the chosen fine-tuning runs."""
    done = [run for run in runs if run.result and run.kind == "finetune"]
    if len(done) < 3:
        return
    results = [run.result for run in done if run.result]
    names = list(dict.fromkeys(strategy_of(run) for run in done))
    auc = [result["metrics"]["target_test"]["auc"] for result in results]
    axes = [Axis("strategy", [names.index(strategy_of(run)) for run in done], names)]
    numbers = {
        "learning rate": [run.request["train"]["learning_rate"] for run in done],
        "batch size": [run.request["train"]["batch_size"] for run in done],
        "seed": [run.request["train"]["seed"] for run in done],
        "rows trained on": [result["train_rows"] for result in results],
        "parameters trained": [result["trained_parameters"] for result in results],
        "seconds": [result["seconds"]["total"] for result in results],
    }
    axes += [Axis(title, values) for title, values in numbers.items() if len(set(values)) > 1]
    if all("source_test" in result["metrics"] for result in results):
        axes.append(Axis("source AUC", [result["metrics"]["source_test"]["auc"] for result in results]))
    axes.append(Axis("target AUC", auc))
    st.markdown("**Settings and results** :gray[· drag along an axis to filter; warm lines have the higher target AUC]")
    chart(parallel_coordinates(axes, auc), "compare-parallel", 360, "Settings and results of the chosen runs")


def _counts(at: Confusion) -> dict[str, float]:
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
