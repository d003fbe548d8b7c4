"""The demo on Home: its button, and its story filling in live: depths, verdict, ROC, mixtures with
the backbone."""

import streamlit as st

from core.errors import ThawError
from core.evaluation.curves import Curve
from core.evaluation.format_metrics import metric_or_none
from core.jobs.store import RESUMABLE_STATUSES, Run, RunStore
from core.program import PROGRAM
from core.report.learn_figures import roc_comparison_figure
from core.report.sweep_figures import depth_figure
from core.runs.demo import DATASET_NAME, SEEDS, demo_sweep, interpolated_run, run_demo
from core.runs.submit import list_interpolations
from core.runs.sweep import Sweep, arm_of_run
from core.runs.sweep_result import (
    default_reference,
    forgetting_sentences,
    judge_arms,
    summarise_arms,
)
from pages.components.run.interpolation import interpolation_result
from pages.components.run.result import load_curves
from pages.components.shared.access import guarded_button
from pages.components.shared.chart import chart
from pages.components.shared.common import (
    SIMULATED,
    bullet_list,
    format_decimals,
    show_command,
    show_error,
    workspace,
)

HEIGHT = 360


def demo_box() -> None:
    """What the demo does, its button, or how far it is."""
    sweep = demo_sweep(workspace())
    runs = RunStore(workspace()).list_group(sweep.id) if sweep else []
    with st.container(border=True):
        st.markdown(f"#### See the whole story {SIMULATED}")
        st.markdown(
            "One click sweeps a pretrained backbone over every freeze depth on the dataset"
            f" *{DATASET_NAME}*, {len(SEEDS)} seeds each, beside two controls: the backbone as it is,"
            " and a network from scratch. Results fill in below; all of it takes about a minute on"
            " an idle machine."
        )
        if not runs or any(run.status in RESUMABLE_STATUSES for run in runs):
            label = "Run what is missing" if runs else "Run the demo"
            help_text = "Trains on simulated rows in the background; nothing of yours is touched."
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
            label="The whole sweep",
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
    """The sweep's results as far as they are there; nothing before its first run is done."""
    sweep = demo_sweep(workspace())
    runs = RunStore(workspace()).list_group(sweep.id) if sweep else []
    done = [run for run in runs if run.status == "done" and run.result]
    if sweep is None or not done:
        return
    results = summarise_arms(sweep, done)
    st.subheader("The story so far" if len(done) < len(runs) else "The story")
    with st.container(border=True):
        sentences = _cached_verdicts(sweep, tuple(f"{run.id} {run.finished}" for run in done), done)
        waiting = (
            f" :orange-badge[:material/hourglass_top: provisional: {len(done)} of {len(runs)} runs"
            " done]"
        )
        st.markdown(f"**The verdict** {SIMULATED}{waiting if len(done) < len(runs) else ''}")
        words = sentences or ["It takes finished runs of two arms to compare."]
        st.markdown(bullet_list(words))
    left, right = st.columns(2, gap="medium")
    with left:
        st.markdown("**Freeze depth against AUC**")
        chart(
            depth_figure(results),
            "demo-depth",
            HEIGHT,
            "AUC by freeze depth on target and source test rows",
        )
    with right:
        st.markdown("**ROC on target test rows** :gray[· first seed]")
        chart(
            roc_comparison_figure(_roc_curves(done)),
            "demo-roc",
            HEIGHT,
            "ROC curves of the demo's arms on target test rows",
        )
    mixed = interpolated_run(runs)
    mixing = list_interpolations(workspace(), mixed) if mixed else []
    if mixing and mixing[0].status == "done":
        st.markdown("**Between the backbone and full fine-tuning** :gray[· WiSE-FT]")
        interpolation_result(mixing[0])


def _roc_curves(done: list[Run]) -> list[tuple[str, Curve]]:
    """ROC of the first seed's run of every arm that is done, three depths among them: lines more
    would only cover."""
    depths = sorted(run.finetune_request.freeze_depth for run in done if run.strategy == "depth")
    shown = {depths[0], depths[len(depths) // 2], depths[-1]} if depths else set()
    overlay = []
    for run in done:
        strategy, depth = run.strategy, run.finetune_request.freeze_depth
        if run.seed == SEEDS[0] and (strategy != "depth" or depth in shown):
            found = load_curves(run, "target_test", "score")[1]
            auc = (
                metric_or_none(run.result.metrics.get("target_test"), "auc") if run.result else None
            )
            overlay.append((f"{arm_of_run(run).title}, {format_decimals(auc, 3)}", found))
    return overlay


@st.cache_data(max_entries=32, show_spinner=False)
def _cached_verdicts(_sweep: Sweep, identity: tuple[str, ...], _done: list[Run]) -> list[str]:
    """What the numbers allow to say; `identity` names the runs that are done."""
    results = summarise_arms(_sweep, _done)
    return [
        *judge_arms(workspace(), results, default_reference(results))[1],
        *forgetting_sentences(results),
    ]
