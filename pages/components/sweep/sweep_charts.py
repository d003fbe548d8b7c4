"""The figures of a sweep.

They show results by arm and by freeze depth, forgetting, quality by cost, target sizes, and curves.
"""

from collections.abc import Sequence

import streamlit as st

from core.freezing.strategies import is_trained, untrained_titles
from core.report.arm_traces import is_freeze_depth
from core.report.sweep_figures import (
    depth_figure,
    depth_height,
    target_sizes_figure,
)
from core.runs.sweep import Sweep
from core.runs.sweep_result import ArmResult, missing_auc_sentences
from pages.components.shared.arm_charts import (
    HEIGHT,
    MAX_LINES,
    arms_charts,
    cost_chart,
    curve_charts,
    direction_note,
    forgetting_chart,
    metric_columns,
)
from pages.components.shared.chart import cached_figure_json, chart
from pages.components.shared.choosers import choose_text
from pages.components.shared.common import show_missing_metrics


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
    arms_charts(titles, shown, "sweep-arms")
    if sum(is_freeze_depth(arm) for arm in shown) > 1:
        for metric, heading, column in metric_columns():
            with column:
                st.markdown(f"**{heading} by freeze depth**{direction_note(metric)}")
                alt = f"{heading} by freeze depth"
                chart(
                    cached_figure_json(depth_figure, tuple(shown), metric),
                    f"sweep-depth-{metric}",
                    depth_height(shown),
                    alt,
                )
    left, right = st.columns(2, gap="medium")
    with left:
        forgetting_chart(shown)
    with right:
        cost_chart(shown)
    _learning_and_size_curves(sweep, titles, results, shown, reference)


def results_in_setting(results: Sequence[ArmResult], setting: str) -> list[ArmResult]:
    """Return the results of one setting, and zero-shot, which is valid in every setting."""
    return [
        result for result in results if result.setting == setting or not is_trained(result.strategy)
    ]


def _choose_setting(settings: Sequence[str]) -> str:
    """Return the setting (target size, learning rate) of the figures.

    Draws a selection box if there are several settings.
    """
    if len(settings) < 2:
        return settings[0]
    with st.columns([2, 5])[0]:
        help_text = "The target size and learning rate that the figures show. It changes no result."
        return choose_text("Figures for", settings, "setting", help_text)


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
        chosen = sweep.spec.choose_rate
        lines = [one for one in results if chosen or one.learning_rate == rate]
        for metric, heading, column in metric_columns():
            with column:
                st.markdown(f"**{heading} by target rows**{direction_note(metric)}")
                figure = cached_figure_json(
                    target_sizes_figure, tuple(lines), (*picked, *untrained_titles()), metric
                )
                alt = f"{heading} on target test rows by number of target training rows"
                chart(figure, f"sweep-sizes-{metric}", HEIGHT, alt)
