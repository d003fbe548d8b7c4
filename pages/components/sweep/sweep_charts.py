"""The figures of a sweep: by arm, by freeze depth, forgetting, quality by cost, target sizes,
curves.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import plotly.graph_objects as go
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from core.evaluation.metric_registry import METRICS, metrics_shown_in
from core.freezing.strategies import is_trained, untrained_titles
from core.jobs.store import RunStore
from core.report.sweep_figures import (
    COST_AXES,
    arms_figure,
    auc_by_cost_figure,
    depth_figure,
    forgetting_figure,
    is_freeze_depth,
    learning_band_figure,
    mean_band,
    target_sizes_figure,
)
from core.runs.sweep import Sweep
from core.runs.sweep_result import ArmResult, missing_auc_sentences
from pages.components.shared import url_state
from pages.components.shared.chart import cached_figure_json, chart
from pages.components.shared.choosers import choose_text
from pages.components.shared.common import show_missing_metrics, workspace

HEIGHT = 380
MAX_LINES = 7
"""Maximum number of arms in overlays and curves: one per colour."""
BASELINE_HELP = "The baseline: every other arm's difference is from this one."
CURVES = {"validation_loss": "Validation log loss (nats)", "validation_auc": "Validation AUC"}


def sweep_charts(
    sweep: Sweep,
    titles: Sequence[str],
    settings: Sequence[str],
    results: Sequence[ArmResult],
    reference: str,
) -> None:
    """Draw every figure of the results so far.

    Args:
        titles: titles of all arms of the sweep, finished or not.
        settings: all settings of the sweep, finished or not.
    """
    setting = _choose_setting(settings)
    shown = results_in_setting(results, setting)
    st.caption(
        "Thin intervals: test-row noise (mean of DeLong's 95 % intervals; AUC only). Thick "
        "intervals: seed noise (mean ± one standard deviation). Arms whose intervals "
        "overlap may still differ, since all are measured on the same rows: see the "
        "verdicts."
    )
    show_missing_metrics(missing_auc_sentences(shown))
    height = 110 + 34 * len(titles)
    for metric, heading, column in metric_columns():
        with column:
            st.markdown(f"**{heading} by arm**{direction_note(metric)}")
            alt = f"{heading} by arm on target and source test rows"
            chart(
                cached_figure_json(arms_figure, tuple(titles), tuple(shown), metric),
                f"sweep-arms-{metric}",
                height,
                alt,
            )
    if sum(is_freeze_depth(arm) for arm in shown) > 1:
        for metric, heading, column in metric_columns():
            with column:
                st.markdown(f"**{heading} by freeze depth**{direction_note(metric)}")
                alt = f"{heading} by freeze depth"
                chart(
                    cached_figure_json(depth_figure, tuple(shown), metric),
                    f"sweep-depth-{metric}",
                    HEIGHT,
                    alt,
                )
    left, right = st.columns(2, gap="medium")
    with left:
        forgetting_chart(shown)
    with right:
        cost_chart(shown)
    _learning_and_size_curves(sweep, titles, results, shown, reference)


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


def results_in_setting(results: Sequence[ArmResult], setting: str) -> list[ArmResult]:
    """Return the results of one setting, and zero-shot, which is valid in every setting."""
    return [
        result for result in results if result.setting == setting or not is_trained(result.strategy)
    ]


def _choose_setting(settings: Sequence[str]) -> str:
    """Return the setting (target size, learning rate) of the figures; draws a box if there are
    several.
    """
    if len(settings) < 2:
        return settings[0]
    with st.columns([2, 5])[0]:
        help_text = "The target size and learning rate that the figures show. It changes no result."
        return choose_text("Figures for", settings, "setting", help_text)


def forgetting_chart(shown: Sequence[ArmResult]) -> None:
    """Draw adaptation to the target by forgetting of the source."""
    st.markdown("**Adaptation and forgetting**")
    alt = "Change in target AUC by change in source AUC, relative to the backbone"
    chart(cached_figure_json(forgetting_figure, tuple(shown)), "sweep-forgetting", HEIGHT, alt)
    st.caption(
        "The backbone is where the two lines cross. An arm above it adapted to the target; "
        "an arm to its left forgot some of the source."
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
    alt = "AUC on target test rows by cost"
    chart(
        cached_figure_json(auc_by_cost_figure, tuple(shown), str(cost)), "sweep-cost", HEIGHT, alt
    )
    st.caption(
        "The frontier connects arms that no cheaper arm matches. Steps smaller than the "
        "intervals above are noise."
    )


def _learning_and_size_curves(
    sweep: Sweep,
    titles: Sequence[str],
    results: Sequence[ArmResult],
    shown: Sequence[ArmResult],
    reference: str,
) -> None:
    """Draw learning curves, and metrics by target size, of the chosen arms."""
    if not any(is_trained(arm.strategy) for arm in shown):
        return
    st.markdown("**Learning curves** :gray[· mean over seeds, the band one standard deviation]")
    options = [title for title in titles if title not in untrained_titles()]
    # The default comes from all arms, finished or not: the widget takes it once, when the first run
    # is done.
    first = dict.fromkeys(
        title for title in (reference, *options[:3], "from scratch") if title in options
    )
    picked = st.multiselect(
        "Arms in the curves below",
        options,
        default=[*first],
        max_selections=MAX_LINES,
        key=f"sweep_lines_{sweep.id}",
        persist_state="session",
        help=f"Up to {MAX_LINES}. An arm without a finished run has no line yet.",
    )
    curve_charts([arm for arm in shown if arm.title in picked])
    if len(sweep.spec.target_sizes) > 1:
        rate = shown[0].learning_rate
        lines = [one for one in results if one.learning_rate == rate]
        for metric, heading, column in metric_columns():
            with column:
                st.markdown(f"**{heading} by target rows**{direction_note(metric)}")
                figure = cached_figure_json(
                    target_sizes_figure, tuple(lines), (*picked, *untrained_titles()), metric
                )
                alt = f"{heading} on target test rows by number of target training rows"
                chart(figure, f"sweep-sizes-{metric}", HEIGHT, alt)


def curve_charts(arms: Sequence[ArmResult]) -> None:
    """Draw the mean validation curves of these arms with a band over seeds."""
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
