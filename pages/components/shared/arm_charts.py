"""Figures of arms that Sweep and Compare share: forgetting, quality by cost, learning curves."""

from collections.abc import Iterator, Sequence

import numpy as np
import plotly.graph_objects as go
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from core.evaluation.metric_registry import METRICS, metrics_shown_in
from core.freezing.strategies import iteration_word
from core.jobs.store import RunStore
from core.report.learning_bands import learning_band_figure, mean_band
from core.report.sweep_figures import (
    COST_AXES,
    arms_figure,
    arms_height,
    auc_by_cost_figure,
    forgetting_figure,
)
from core.runs.sweep_result import ArmResult
from pages.components.shared import url_state
from pages.components.shared.chart import cached_figure_json, chart
from pages.components.shared.common import workspace

HEIGHT = 380

MAX_LINES = 7
"""Maximum number of arms in overlays and curves: one per colour."""

BASELINE_HELP = "The baseline: every other arm's difference is from this one."

CURVES = {"validation_loss": "Validation log loss (nats)", "validation_auc": "Validation AUC"}


def metric_columns() -> Iterator[tuple[str, str, DeltaGenerator]]:
    """Yield (key, heading, column) of every metric shown in figures of arms, two per row."""
    metrics = [*metrics_shown_in("figures").items()]
    for start in range(0, len(metrics), 2):
        columns = st.columns(2, gap="medium")
        for (key, metric), column in zip(metrics[start : start + 2], columns, strict=False):
            yield key, metric.heading, column


def direction_note(metric: str) -> str:
    """Return the suffix of a figure's title if a lower value is better, else ""."""
    return " :gray[· lower is better]" if METRICS[metric].higher_is_better is False else ""


def arms_charts(titles: Sequence[str], shown: Sequence[ArmResult], key: str) -> None:
    """Draw the metrics of every arm, one figure per metric; `key` begins the figures' keys."""
    for metric, heading, column in metric_columns():
        with column:
            st.markdown(f"**{heading} by arm**{direction_note(metric)}")
            chart(
                cached_figure_json(arms_figure, tuple(titles), tuple(shown), metric),
                f"{key}-{metric}",
                arms_height(titles),
                f"{heading} by arm on target and source test rows",
            )


def forgetting_chart(shown: Sequence[ArmResult]) -> None:
    """Draw adaptation to the target by forgetting of the source."""
    st.markdown("**Adaptation and forgetting**")
    alt = "Change in target AUC by change in source AUC, relative to the backbone"
    chart(cached_figure_json(forgetting_figure, tuple(shown)), "sweep-forgetting", HEIGHT, alt)
    st.caption(
        "The backbone is where the two lines cross. An arm above it adapted to the target; "
        "an arm to its left scores lower on the source. The verdicts say what is more than noise."
    )


def cost_chart(shown: Sequence[ArmResult]) -> None:
    """Draw quality by a chosen cost; the URL carries the choice."""
    with st.container(
        horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"
    ):
        st.markdown("**Quality by cost**", width="content")
        cost = st.segmented_control(
            "Cost",
            [*COST_AXES],
            default="parameters",
            required=True,
            format_func={
                "parameters": "Parameters",
                "seconds": "Seconds",
                "memory": "Memory",
            }.__getitem__,
            key="cost",
            bind=url_state.BOUND,
            label_visibility="collapsed",
            help="The cost on the horizontal axis. It changes no result.",
        )
    # An empty value in the URL leaves nothing chosen.
    cost = str(cost or "parameters")
    alt = "AUC on target test rows by cost"
    chart(cached_figure_json(auc_by_cost_figure, tuple(shown), cost), "sweep-cost", HEIGHT, alt)
    st.caption(
        "The frontier connects arms that no cheaper arm matches. Steps smaller than the "
        "intervals above are noise."
    )


def curve_charts(arms: Sequence[ArmResult]) -> None:
    """Draw the mean validation curves of these arms with a band over seeds.

    Those that count trees or penalties are left out: the figure counts optimiser steps.
    """
    arms = [arm for arm in arms if iteration_word(arm.strategy) == "epoch"]
    for column, (name, title) in zip(st.columns(2, gap="medium"), CURVES.items(), strict=True):
        alt = f"{title} by optimiser step, mean over seeds"
        with column:
            chart(
                cached_figure_json(_curves_figure, tuple(arms), name), f"sweep-{name}", HEIGHT, alt
            )


def _curves_figure(arms: Sequence[ArmResult], name: str) -> go.Figure:
    """Make the figure from finished runs, whose points no longer change."""
    store, bands = RunStore(workspace()), {}
    for arm in arms:
        curves = [
            store.points(run.id, name).get(name, (np.zeros(0), np.zeros(0))) for run in arm.runs
        ]
        bands[arm.title] = mean_band([curve for curve in curves if len(curve[0])])
    return learning_band_figure(bands, CURVES[name])
