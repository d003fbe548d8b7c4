"""The figures of a sweep: arms, freeze depth, adaptation against forgetting, quality against cost,
sizes, curves."""

from collections.abc import Iterator, Sequence

import numpy as np
import plotly.graph_objects as go
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from core.evaluation.metric_registry import METRICS, metrics_shown_in
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
from pages.components.shared.chart import cached_figure_json, chart
from pages.components.shared.choosers import choose_text
from pages.components.shared.common import show_missing_metrics, workspace

HEIGHT = 380
MAX_LINES = 7
"""Arms in overlays and lines: as many as there are colours."""
BASELINE_HELP = "The reference: every arm's difference is to this one."
CURVES = {"validation_loss": "Validation log loss (nats)", "validation_auc": "Validation AUC"}


def sweep_charts(
    sweep: Sweep,
    titles: Sequence[str],
    settings: Sequence[str],
    results: Sequence[ArmResult],
    reference: str,
) -> None:
    """Every figure of the results there are; `titles` and `settings` are all of the sweep's, done
    or not."""
    setting = _choose_setting(settings)
    shown = results_in_setting(results, setting)
    st.caption(
        "Thin intervals: other test rows (mean of DeLong's 95 % intervals; AUC alone). Thick ones:"
        " other seeds (mean ± one standard deviation). Two arms whose intervals overlap may still"
        " differ, as both stand on the same rows: the verdicts say so."
    )
    show_missing_metrics(missing_auc_sentences(shown))
    tall = 110 + 34 * len(titles)
    for metric, words, column in metric_columns():
        with column:
            st.markdown(f"**Every arm's {words}**{direction_note(metric)}")
            alt = f"Every arm's {words} on target and source test rows"
            chart(
                cached_figure_json(arms_figure, tuple(titles), tuple(shown), metric),
                f"sweep-arms-{metric}",
                tall,
                alt,
            )
    if sum(is_freeze_depth(one) for one in shown) > 1:
        for metric, words, column in metric_columns():
            with column:
                st.markdown(f"**Freeze depth against {words}**{direction_note(metric)}")
                alt = f"Freeze depth against {words}"
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
    """(key, name, column) of every metric that figures of arms show, two columns a row."""
    metrics = [*metrics_shown_in("figures").items()]
    for start in range(0, len(metrics), 2):
        columns = st.columns(2, gap="medium")
        for (key, metric), column in zip(metrics[start : start + 2], columns, strict=False):
            yield key, metric.name, column


def direction_note(metric: str) -> str:
    """What stands behind the title of a figure where a lower value is better."""
    return " :gray[· lower is better]" if METRICS[metric].higher_is_better is False else ""


def results_in_setting(results: Sequence[ArmResult], setting: str) -> list[ArmResult]:
    """The results of one setting, and zero-shot, whose one run stands in every setting."""
    return [one for one in results if one.setting == setting or one.strategy == "zero-shot"]


def _choose_setting(settings: Sequence[str]) -> str:
    """The setting (target size, learning rate) that the figures show; a box for it where there are
    several."""
    if len(settings) < 2:
        return settings[0]
    with st.columns([2, 5])[0]:
        about = "The target size and learning rate that the figures show. It changes no result."
        return choose_text("Figures for", settings, "setting", about)


def forgetting_chart(shown: Sequence[ArmResult]) -> None:
    """Adaptation against forgetting."""
    st.markdown("**Adaptation against forgetting**")
    alt = "Change in target AUC against change in source AUC, from the backbone before"
    chart(cached_figure_json(forgetting_figure, tuple(shown)), "sweep-forgetting", HEIGHT, alt)
    st.caption(
        "The backbone as it was lies where the two lines cross: above it an arm adapted to the"
        " target, left of it the arm forgot some of the source."
    )


def cost_chart(shown: Sequence[ArmResult]) -> None:
    """Quality against a cost that one chooses; the choice is in the address."""
    with st.container(
        horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"
    ):
        st.markdown("**Quality against cost**", width="content")
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
            bind="query-params",
            label_visibility="collapsed",
            help="What the figure holds quality against. It changes no result.",
        )
    alt = "AUC on target test rows against cost"
    chart(
        cached_figure_json(auc_by_cost_figure, tuple(shown), str(cost)), "sweep-cost", HEIGHT, alt
    )
    st.caption(
        "The frontier joins arms that nothing cheaper reaches. A step of it smaller than the"
        " intervals above is noise."
    )


def _learning_and_size_curves(
    sweep: Sweep,
    titles: Sequence[str],
    results: Sequence[ArmResult],
    shown: Sequence[ArmResult],
    reference: str,
) -> None:
    """Learning curves, and AUC by target size, of the arms that one chooses."""
    if all(one.strategy == "zero-shot" for one in shown):
        return
    st.markdown("**Learning curves** :gray[· mean over seeds, the band one standard deviation]")
    options = [title for title in titles if title != "zero-shot"]
    # From all arms and not from those that are done: the box takes its default once, when the first
    # run is done.
    first = dict.fromkeys(
        title for title in (reference, *options[:3], "from scratch") if title in options
    )
    picked = st.multiselect(
        "Arms in the lines below",
        options,
        default=[*first],
        max_selections=MAX_LINES,
        key=f"sweep_lines_{sweep.id}",
        persist_state="session",
        help=f"Up to {MAX_LINES}. An arm without a finished run has no line yet.",
    )
    curve_charts([one for one in shown if one.title in picked])
    if len(sweep.spec.target_sizes) > 1:
        rate = shown[0].learning_rate
        lines = [one for one in results if one.learning_rate == rate]
        for metric, words, column in metric_columns():
            with column:
                st.markdown(f"**Target rows against {words}**{direction_note(metric)}")
                figure = cached_figure_json(
                    target_sizes_figure, tuple(lines), (*picked, "zero-shot"), metric
                )
                alt = f"Target rows that trained against {words} on target test rows"
                chart(figure, f"sweep-sizes-{metric}", HEIGHT, alt)


def curve_charts(arms: Sequence[ArmResult]) -> None:
    """Mean validation curves of these arms with a band over their seeds."""
    for column, (name, title) in zip(st.columns(2, gap="medium"), CURVES.items(), strict=True):
        alt = f"{title} by optimiser step, mean over seeds"
        with column:
            chart(
                cached_figure_json(_curves_figure, tuple(arms), name), f"sweep-{name}", HEIGHT, alt
            )


def _curves_figure(arms: Sequence[ArmResult], name: str) -> go.Figure:
    """Of finished runs, whose points change no more."""
    store, bands = RunStore(workspace()), {}
    for one in arms:
        curves = [
            store.points(run.id, name).get(name, (np.zeros(0), np.zeros(0))) for run in one.runs
        ]
        bands[one.title] = mean_band([curve for curve in curves if len(curve[0])])
    return learning_band_figure(bands, CURVES[name])
