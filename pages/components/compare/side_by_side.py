"""The selected runs grouped into arms and compared.

The parts are figures, verdicts, differing settings, and decisions.
"""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st
from scipy.stats import rankdata

from core.data.datasets import Dataset, list_datasets
from core.evaluation.format_metrics import format_bounds, format_metric, format_p, metric_value
from core.evaluation.metric_registry import HEADLINE_METRIC, METRICS, metrics_shown_in
from core.evaluation.significance import RANKING_RULE
from core.evaluation.verdicts import COMPARED_METRICS, Verdict
from core.freezing.strategies import (
    STRATEGIES,
    has_own_model,
    is_control,
    is_trained,
    iteration_word,
)
from core.jobs.requests import request_to_json
from core.jobs.store import Run
from core.models.backbone_store import list_backbones
from core.report.arm_traces import is_freeze_depth
from core.report.arms import (
    ArmRuns,
    arms_in_setting,
    comparable_validation_losses,
    distinct_settings,
    group_into_arms,
    judge_selected_arms,
    share_test_rows,
    summarise_selected_arms,
)
from core.report.compare_figures import (
    ParallelAxis,
    depth_by_setting_figure,
    parallel_coordinates_figure,
)
from core.report.run_settings import tested_rows_key
from core.report.sweep_figures import depth_figure, depth_height
from core.runs.rate_choice import has_rate
from core.runs.sweep import list_rate_sweeps
from core.runs.sweep_result import ArmResult, default_reference, missing_auc_sentences
from pages.components.compare.arm_decisions import arm_costs, arm_slices
from pages.components.compare.shared_threshold import shared_threshold_view
from pages.components.shared import url_state
from pages.components.shared.arm_charts import (
    BASELINE_HELP,
    HEIGHT,
    MAX_LINES,
    arms_charts,
    cost_chart,
    curve_charts,
    direction_note,
    forgetting_chart,
    metric_columns,
)
from pages.components.shared.arm_column import arm_column
from pages.components.shared.chart import cached_figure_json, chart
from pages.components.shared.choosers import choose_text
from pages.components.shared.common import show_missing_metrics, simulated_badge, workspace
from pages.components.shared.compute_slots import compute_slot
from pages.components.shared.errors import catch_errors, catch_errors_in
from pages.components.shared.formatting import bullet_list, escape_markdown
from pages.components.shared.recommendation import recommendation_card

ALL_SETTINGS = "every setting"
MAX_ARMS = 24
"""With more arms than this, the default is one setting instead of all."""
BLENDED = "blended"
"""Column of what a blend is made of."""


def side_by_side(runs: Sequence[Run]) -> None:
    """Draw the comparison of `runs`; runs that are not done are left out and counted."""
    done = [
        run
        for run in runs
        if run.status == "done" and run.result and "target_test" in run.result.metrics
    ]
    if len(done) < len(runs):
        st.caption(
            f"{len(runs) - len(done)} of the selected runs are not done or score no clicks, "
            "and are left out below."
        )
    if not done:
        st.info("Select finished runs in the table to compare them.", icon=":material/check_box:")
        return
    datasets = {dataset.id: dataset for dataset in list_datasets(workspace())}
    arms = group_into_arms(
        done,
        backbone_names(),
        {entry.id: entry.name for entry in datasets.values()},
        list_rate_sweeps(workspace()),
    )
    arms, full = _choose_setting(arms)
    _show_datasets(arms, datasets)
    results = summarise_selected_arms(arms, full)
    if len(results) > 1 and len({run.dataset for arm in results for run in arm.runs}) == 1:
        with catch_errors():
            recommendation_card(results, "compare", selected=True)
    _show_charts(results)
    _show_comparison(arms, results)


def backbone_names() -> dict[str, str]:
    """Return the names of all backbones by id."""
    return {card.id: card.name for card in list_backbones(workspace())}


def _choose_setting(arms: list[ArmRuns]) -> tuple[list[ArmRuns], bool]:
    """Return (arms of the chosen setting, whether their titles must name the setting)."""
    settings = distinct_settings(arms)
    if len(settings) < 2:
        return arms, bool(settings[0])
    # Arms of several windows have no test rows in common.
    together = len(arms) <= MAX_ARMS and (
        len({tested_rows_key(arm.runs[0])[1:] for arm in arms}) == 1
    )
    options = [ALL_SETTINGS, *settings] if together else [*settings, ALL_SETTINGS]
    with st.columns([2, 3])[0]:
        help_text = (
            "What differs besides strategy and seed. Everything below is for the setting "
            "chosen here."
        )
        setting = choose_text("Setting", options, "setting", help_text)
    return (arms, True) if setting == ALL_SETTINGS else (arms_in_setting(arms, setting), False)


def _show_datasets(arms: Sequence[ArmRuns], datasets: dict[str, Dataset]) -> None:
    shown = {run.dataset for arm in arms for run in arm.runs}
    tested = {tested_rows_key(run) for arm in arms for run in arm.runs}
    if len(tested) > 1:
        what = "datasets" if len(shown) > 1 else "windows"
        st.warning(
            f"The selected runs were tested on different {what}, so their metrics are on "
            "different rows.",
            icon=":material/warning:",
        )
    if any(datasets[dataset_id].simulated for dataset_id in shown if dataset_id in datasets):
        simulated_badge()


def _show_charts(results: Sequence[ArmResult]) -> None:
    """Draw metrics by arm, by freeze depth, forgetting, and quality by cost."""
    titles = [arm.title for arm in results]
    seeds = sum(len(arm.runs) for arm in results)
    st.caption(
        f"{len(results)} arm{'s' if len(results) > 1 else ''} from {seeds} "
        f"run{'s' if seeds > 1 else ''}. Thin intervals: test-row noise (mean of DeLong's 95 "
        "% intervals; AUC only). Thick intervals: seed noise (mean ± one standard "
        "deviation). Arms whose intervals overlap may still differ: see the verdicts below."
    )
    show_missing_metrics(missing_auc_sentences(results))
    arms_charts(titles, results, "compare")
    several = len({arm.setting for arm in results if is_freeze_depth(arm)}) > 1
    if any(is_freeze_depth(arm) for arm in results):
        for metric, heading, column in metric_columns():
            with column:
                st.markdown(f"**{heading} by freeze depth**{direction_note(metric)}")
                figure = depth_by_setting_figure if several else depth_figure
                alt = f"{heading} by freeze depth"
                chart(
                    cached_figure_json(figure, tuple(results), metric),
                    f"compare-depth-{metric}",
                    HEIGHT if several else depth_height(results),
                    alt,
                )
        if several:
            st.caption(
                "Target test rows only, one line per setting. Choose one setting to see "
                "source rows and controls."
            )
    left, right = st.columns(2, gap="medium")
    with left:
        forgetting_chart(results)
    with right:
        cost_chart(results)


def _show_comparison(arms: Sequence[ArmRuns], results: Sequence[ArmResult]) -> None:
    titles = [arm.title for arm in results]
    one_dataset = share_test_rows(results)
    reference = titles[0]
    if len(results) > 1:
        st.markdown("**What the results support**")
        reference = _choose_baseline(results)
        if one_dataset:
            with catch_errors():
                _show_verdicts(results, reference)
        else:
            st.caption(
                "Nothing: the selected runs were tested on different rows. Select runs, or "
                "a setting, of one dataset and window. Page Sweep compares the arms of a sweep "
                "over all of its windows."
            )
        st.markdown("**Settings that differ**")
        _show_differences(arms, titles)
        _show_parallel_coordinates(results)
    picked = _choose_arms(results, reference)
    if not picked:
        st.info(
            "Choose arms to see their curves, costs and slices.",
            icon=":material/timeline:",
        )
        return
    if any(is_trained(arm.strategy) for arm in picked):
        st.markdown("**Learning curves** :gray[· mean over seeds, the band one standard deviation]")
        curve_charts(picked)
    st.subheader("One threshold for all arms")
    st.fragment(catch_errors_in(shared_threshold_view))(picked)
    st.subheader("The cheapest threshold")
    st.fragment(catch_errors_in(arm_costs))(picked, reference)
    st.subheader("Results by slice")
    if one_dataset:
        st.fragment(catch_errors_in(arm_slices))(picked, reference)
    else:
        st.caption(
            "Slices compare arms on the same rows, but the selected runs were tested on "
            "different datasets or windows."
        )


def _choose_baseline(results: Sequence[ArmResult]) -> str:
    titles = [arm.title for arm in results]
    first = default_reference(results)
    url_state.restore_choice("against", [first, *(title for title in titles if title != first)])
    with st.columns([2, 3])[0]:
        return choose_text("Compared with (baseline)", titles, "against", BASELINE_HELP)


def _choose_arms(results: Sequence[ArmResult], reference: str) -> list[ArmResult]:
    """Return the arms that everything below shows.

    By default all, or if there are too many: the baseline, the best, the controls and the next
    ones.
    """
    # Zero-shot has no learning curve. It comes last, so that arms with a curve get the first
    # colours.
    ordered = sorted(results, key=lambda arm: not is_trained(arm.strategy))
    titles = [arm.title for arm in ordered]
    if len(titles) == 1:
        return ordered
    controls = [arm.title for arm in ordered if is_control(arm.strategy)][:2]
    losses = zip(comparable_validation_losses(results), results, strict=True)
    leader = [
        arm.title
        for _, arm in sorted(
            (pair for pair in losses if pair[0] == pair[0]), key=lambda pair: pair[0]
        )
    ]
    first = dict.fromkeys([reference, *leader[:1], *controls, *titles])
    limit = MAX_LINES if len(titles) <= MAX_LINES else 5
    if not set(st.session_state.get("lines", ())) <= set(titles):
        # The choice names arms of other runs or of another setting: start again with the default.
        del st.session_state["lines"]
    picked = st.multiselect(
        "Arms shown below",
        titles,
        default=[title for title in titles if title in [*first][:limit]],
        max_selections=MAX_LINES,
        key="lines",
        bind=url_state.BOUND,
        help=f"Up to {MAX_LINES}, each with its colour.",
    )
    return [arm for arm in ordered if arm.title in picked]


def _show_verdicts(results: Sequence[ArmResult], reference: str) -> None:
    identity = tuple(
        (one.title, tuple(f"{run.id} {run.finished}" for run in one.runs)) for one in results
    )
    verdicts, sentences = _cached_verdicts(identity, reference, results)
    if not verdicts:
        st.caption(
            "Nothing: the arms have no seed in common, so no runs can be paired. Select "
            "runs with the same seeds."
        )
        return
    st.markdown(bullet_list(sentences))
    st.dataframe(
        pd.DataFrame([_verdict_row(one) for one in verdicts]),
        hide_index=True,
        height=min(35 * (len(verdicts) + 1) + 3, 422),
        alt="Differences between arms on target test rows",
        column_config={
            "Arm": arm_column(one.a for one in verdicts),
            "Verdict": st.column_config.TextColumn(
                width=240, help="On target AUC and log loss; a metric not named is undecided"
            ),
            "ΔAUC": st.column_config.TextColumn(help="AUC of the arm minus AUC of the other"),
            "Δ log loss": st.column_config.TextColumn(help="Below 0, the arm is better"),
        },
    )
    st.caption(
        "On the same target test rows, each arm is compared with "
        f"{escape_markdown(reference)}, and with the arm that is best on validation rows, "
        "where all have the same ones. AUC (DeLong), log loss and ECE are paired over rows and "
        "common seeds, with Student's t; p-values are Holm-adjusted over all comparisons here. "
        + RANKING_RULE
    )


@st.cache_data(max_entries=32, show_spinner="Comparing the arms")
def _cached_verdicts(
    identity: tuple[tuple[str, tuple[str, ...]], ...], reference: str, _results: Sequence[ArmResult]
) -> tuple[list[Verdict], list[str]]:
    with compute_slot():
        return judge_selected_arms(workspace(), _results, reference)


def _verdict_row(verdict: Verdict) -> dict[str, str]:
    row = {
        "Arm": verdict.a,
        "Compared with": verdict.b,
        "Verdict": verdict.outcome_with_rows,
    }
    for metric in COMPARED_METRICS:
        difference, p = verdict.comparison(metric)
        delta = METRICS[metric].delta_name
        of_delta = "" if metric == HEADLINE_METRIC else f" of {delta}"
        row[delta] = format_metric(difference.delta, signed=True)
        row[f"95 % interval{of_delta}"] = format_bounds(
            difference.low, difference.high, signed=True
        )
        row[f"Adjusted p{of_delta}"] = format_p(p)
    return row


def _show_differences(arms: Sequence[ArmRuns], titles: Sequence[str]) -> None:
    names_by_id = {
        dataset.id: dataset.name for dataset in list_datasets(workspace())
    } | backbone_names()
    flat = [_flatten_settings(arm.runs, names_by_id) for arm in arms]
    names = dict.fromkeys(name for settings in flat for name in settings)
    # What an arm does not read does not differ from the others'; an option not given has its
    # default.
    networks = [_trains_network(arm.runs[0]) for arm in arms]

    def values(name: str) -> set[str]:
        is_option = name.startswith("options")
        return {
            settings.get(name, "–")
            for settings, network in zip(flat, networks, strict=True)
            if name in settings or (is_option and network)
        }

    # What a blend is made of tells it from all arms, though a single blend differs from no other.
    differing = [name for name in names if name == BLENDED or len(values(name)) > 1]
    if not differing:
        st.caption("None: these runs have the same settings.")
        return
    rows = [
        {"Arm": title, **{name: settings.get(name, "–") for name in differing}}
        for title, settings in zip(titles, flat, strict=True)
    ]
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        height=min(35 * (len(rows) + 1) + 3, 422),
        alt="Settings that differ between the arms",
        column_config={"Arm": arm_column(titles)},
    )


def _trains_network(run: Run) -> bool:
    trains = run.kind != "blend" and is_trained(run.strategy)
    return trains and iteration_word(run.strategy) == "epoch"


def _flatten_settings(runs: Sequence[Run], names: dict[str, str]) -> dict[str, str]:
    """Return every setting of an arm's request as text: seeds together, ids replaced by names."""
    flat: dict[str, str] = {}

    def walk(values: dict[str, Any], prefix: str = "") -> None:
        for name, value in values.items():
            if isinstance(value, dict):
                walk(value, "" if name == "train" else f"{name} · ")
            elif name not in ("group", "seed", "name", "rates", *hidden):
                flat[f"{prefix}{name}".replace("_", " ")] = _setting_text(name, value)

    if runs[0].kind == "blend":
        # Nothing of its training settings is read.
        rows = f"{runs[0].target_rows:,}" if runs[0].target_rows else "0"
        dataset = names.get(runs[0].dataset, runs[0].dataset)
        return {
            "dataset": dataset,
            "target rows": rows,
            BLENDED: _blended_arms(runs),
            "seeds": ", ".join(str(run.seed) for run in runs),
        }
    settings = request_to_json(runs[0].request)
    # Other strategies store a depth of 0, which does not describe what they freeze.
    hidden: tuple[str, ...] = () if runs[0].strategy == "depth" else ("freeze_depth",)
    if not has_rate(runs[0]):
        hidden += ("learning_rate", "head_learning_rate")
    if has_own_model(runs[0].strategy):
        # Head and inputs are new whatever the sweep asks for.
        hidden += ("keep_head", "inputs")
    if not is_trained(runs[0].strategy):
        settings = {name: settings[name] for name in ("strategy", "dataset", "backbone")}
    else:
        if not _trains_network(runs[0]):
            read = "strategy", "dataset", "backbone", "target_rows", "options"
            share = {"validation_share": settings["train"]["validation_share"]}
            settings = {name: settings[name] for name in read if name in settings} | share
        flat["seeds"] = ", ".join(str(run.seed) for run in runs)
    walk(settings)
    for name in {"dataset", "backbone"} & set(flat):
        flat[name] = names.get(flat[name], flat[name])
    return flat


def _blended_arms(runs: Sequence[Run]) -> str:
    """Return the arms of blends that differ by seed, each with its mean weight."""
    weights = [
        [one.weight for one in run.result.blend.runs]
        for run in runs
        if run.result and run.result.blend
    ]
    titles = runs[0].blend_request.arms
    if not weights:
        return ", ".join(titles)
    means = [math.fsum(found) / len(weights) for found in zip(*weights, strict=True)]
    return ", ".join(f"{mean:.2f} × {title}" for mean, title in zip(means, titles, strict=True))


def _setting_text(name: str, value: Any) -> str:
    if value is None:
        return "–"
    if name == "strategy":
        return STRATEGIES[value].title
    return f"{value:g}" if isinstance(value, float) else str(value)


def _show_parallel_coordinates(results: Sequence[ArmResult]) -> None:
    """Draw parallel coordinates of the fine-tuning runs that have an AUC, one line per run."""
    lines = [
        (arm, run, run.result)
        for arm in results
        for run in arm.runs
        if run.kind == "finetune"
        and run.result
        and arm.auc["target_test"].mean == arm.auc["target_test"].mean
    ]
    if len(lines) < 3:
        return
    strategies = [*dict.fromkeys(arm.strategy for arm, _, _ in lines)]
    titles = [STRATEGIES[strategy].title for strategy in strategies]

    def measured(part: str, name: str) -> list[float]:
        return [metric_value(result.metrics.get(part), name) for _, _, result in lines]

    auc = measured("target_test", "auc")
    axes = [
        ParallelAxis("strategy", [strategies.index(arm.strategy) for arm, _, _ in lines], titles)
    ]
    numbers: dict[str, Sequence[float]] = {
        "stages frozen": [float(arm.depth) for arm, _, _ in lines],
        "learning rate": [run.request.train.learning_rate for _, run, _ in lines],
        "batch size": [run.request.train.batch_size for _, run, _ in lines],
        "seed": [run.seed for _, run, _ in lines],
        "rows trained on": [result.train_rows for _, _, result in lines],
        "parameters": [result.trained_parameters for _, _, result in lines],
        "seconds": [result.total_seconds for _, _, result in lines],
    }
    axes += [
        ParallelAxis(title, values) for title, values in numbers.items() if len(set(values)) > 1
    ]
    for key, metric in metrics_shown_in("figures").items():
        values = measured("target_test", key)
        if key != HEADLINE_METRIC and any(value == value for value in values):
            axes.append(ParallelAxis(metric.name, values))
    source = measured("source_test", "auc")
    if all(value == value for value in source):
        axes.append(ParallelAxis("source AUC", source))
    axes.append(ParallelAxis("target AUC", auc))
    st.markdown(
        "**Settings and results** :gray[· one line per run; drag along an axis to filter; "
        "warm colours: high target AUC]"
    )
    # Colour by rank: with values, a single bad run would give all others the same colour.
    figure = parallel_coordinates_figure(axes, rankdata(auc))
    # On a narrow screen the axes keep their distance and the figure scrolls.
    wide = f".st-key-parallel .thaw-chart {{ min-width: {112 * len(axes)}px; }}"
    st.html(f"<style>.st-key-parallel {{ overflow-x: auto; }} {wide}</style>")
    with st.container(key="parallel"):
        chart(figure, "compare-parallel", 420, "Settings and results of the selected runs")
