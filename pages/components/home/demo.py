"""The demo on Home: its button, and its results as they arrive.

The results are the depths, the verdict, the ROC, and the interpolation.
"""

import streamlit as st

from core.errors import ThawError
from core.evaluation.curves import Curve
from core.evaluation.format_metrics import format_metric, metric_or_none
from core.jobs.store import RESUMABLE_STATUSES, Run, RunStore
from core.program import PROGRAM
from core.report.learn_figures import roc_comparison_figure
from core.report.sweep_figures import depth_figure
from core.runs.arm_verdicts import forgetting_sentences, judge_arms
from core.runs.demo import (
    DATASET_NAME,
    SEEDS,
    WHAT_IT_SHOWS,
    demo_sweep,
    interpolated_run,
    run_demo,
)
from core.runs.submit import list_interpolations
from core.runs.sweep import Sweep, arm_title
from core.runs.sweep_result import default_reference, summarise_arms
from pages.components.shared.access import guarded_button
from pages.components.shared.chart import chart
from pages.components.shared.common import SIMULATED, show_command, workspace
from pages.components.shared.errors import catch_errors, show_error
from pages.components.shared.formatting import bullet_list
from pages.components.shared.interpolation import interpolation_result
from pages.components.shared.recommendation import recommendation_card
from pages.components.shared.run_predictions import load_curves

HEIGHT, LEGEND_ROW = 360, 19
"""Pixels of a figure without its legend, and of a line of the legend, where every curve has one."""


def demo_box() -> None:
    """Draw what the demo does, its button, and its progress."""
    sweep = demo_sweep(workspace())
    runs = RunStore(workspace()).list_group(sweep.id) if sweep else []
    with st.container(border=True):
        st.markdown(f"#### Demo {SIMULATED}")
        st.markdown(
            "One click sweeps every freeze depth of a pretrained backbone on the dataset "
            f"*{DATASET_NAME}*, {len(SEEDS)} seeds each, beside controls: the backbone as it is, a "
            "logistic regression, gradient boosting, and a network trained from scratch. To be "
            "quick, every arm trains at the default learning rate; a sweep of your own chooses "
            "each arm's rate. Results appear below as runs finish; it takes a minute "
            "or two on an idle machine."
        )
        st.caption(WHAT_IT_SHOWS)
        if not runs or any(run.status in RESUMABLE_STATUSES for run in runs):
            label = "Finish the demo" if runs else "Run the demo"
            help_text = "Trains on simulated rows in the background; your own data is not touched."
            if guarded_button(
                label, type="primary", icon=":material/play_arrow:", key="run_demo", help=help_text
            ):
                _start()
        if sweep and runs:
            _show_progress(sweep, runs)
        show_command(f"{PROGRAM} demo --wait")


def _show_progress(sweep: Sweep, runs: list[Run]) -> None:
    done = sum(run.status == "done" for run in runs)
    running = next((run for run in runs if run.status == "running"), None)
    part = running.step / running.steps if running and running.steps else 0.0
    st.progress(min(1.0, (done + part) / len(runs)), text=f"{done} of {len(runs)} runs done")
    current = running or runs[0]
    with st.container(horizontal=True):
        label = "Watch it train" if current.active else "Open the first run"
        st.page_link(
            "run.py", label=label, icon=":material/monitoring:", query_params={"run": current.id}
        )
        st.page_link(
            "sweep.py",
            label="Open the sweep",
            icon=":material/experiment:",
            query_params={"sweep": sweep.id},
        )
        ids = ",".join(run.id for run in runs)
        st.page_link(
            "compare.py",
            label="Compare the runs",
            icon=":material/compare_arrows:",
            query_params={"runs": ids},
        )


def _start() -> None:
    try:
        with st.spinner("Simulating rows and preparing the dataset"):
            run_demo(workspace())
    except ThawError as error:
        show_error(error)
        return
    st.rerun()


def demo_story() -> None:
    """Show the results of the demo's sweep so far; nothing before the first run is done."""
    sweep = demo_sweep(workspace())
    runs = RunStore(workspace()).list_group(sweep.id) if sweep else []
    done = [run for run in runs if run.status == "done" and run.result]
    if sweep is None or not done:
        return
    results = summarise_arms(sweep, done)
    st.subheader("Demo results so far" if len(done) < len(runs) else "Demo results")
    waiting = (
        f" :orange-badge[:material/hourglass_top: provisional: {len(done)} of {len(runs)} runs"
        " done]"
    )
    mark = f" {SIMULATED}{waiting if len(done) < len(runs) else ''}"
    with catch_errors():
        recommendation_card(results, "demo", mark)
    with st.container(border=True):
        sentences = _cached_verdicts(sweep, tuple(f"{run.id} {run.finished}" for run in done), done)
        st.markdown(f"**The verdict**{mark}")
        words = sentences or ["A comparison needs finished runs of two arms."]
        st.markdown(bullet_list(words))
    left, right = st.columns(2, gap="medium")
    curves = _roc_curves(done)
    height = HEIGHT + LEGEND_ROW * len(curves)
    with left:
        st.markdown("**AUC by freeze depth**")
        chart(
            depth_figure(results),
            "demo-depth",
            height,
            "AUC by freeze depth on target and source test rows",
        )
    with right:
        st.markdown("**ROC on target test rows** :gray[· first seed]")
        chart(
            roc_comparison_figure(curves),
            "demo-roc",
            height,
            "ROC curves of the demo's arms on target test rows",
        )
    mixed = interpolated_run(runs)
    mixing = list_interpolations(workspace(), mixed) if mixed else []
    if mixing and mixing[0].status == "done":
        st.markdown("**Interpolation between the backbone and full fine-tuning** :gray[· WiSE-FT]")
        interpolation_result(mixing[0])


def _roc_curves(done: list[Run]) -> list[tuple[str, Curve]]:
    """Return ROC curves of the first seed's finished runs.

    Of the freeze depths only the first, middle and last are shown; more lines would overlap.
    """
    depths = sorted(run.finetune_request.freeze_depth for run in done if run.strategy == "depth")
    shown = {depths[0], depths[len(depths) // 2], depths[-1]} if depths else set()
    overlay = []
    for run in done:
        is_left_out = run.strategy == "depth" and run.finetune_request.freeze_depth not in shown
        if run.seed == SEEDS[0] and not is_left_out:
            curve = load_curves(run, "target_test", "score")[1]
            auc = (
                metric_or_none(run.result.metrics.get("target_test"), "auc") if run.result else None
            )
            overlay.append((f"{arm_title(run)}, {format_metric(auc, 3)}", curve))
    return overlay


@st.cache_data(max_entries=32, show_spinner=False)
def _cached_verdicts(_sweep: Sweep, identity: tuple[str, ...], _done: list[Run]) -> list[str]:
    """Return the verdicts in words; `identity` (the finished runs) is the cache key."""
    results = summarise_arms(_sweep, _done)
    return [
        *judge_arms(workspace(), results, default_reference(results))[1],
        *forgetting_sentences(workspace(), results),
    ]
