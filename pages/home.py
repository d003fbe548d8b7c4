"""Home: what Thaw is, what is running, and the demo."""

import streamlit as st

from core.evaluation.format_metrics import format_interval
from core.freezing.heads import default_keep_head
from core.freezing.plan import make_plan
from core.jobs.store import Run, RunStore
from core.runs.demo import demo_backbone
from core.runs.heartbeat import check_heartbeat
from core.runs.launch import (
    QUEUES,
    check_stall,
    is_worker_alive,
    queue_for_device,
    refresh_statuses,
    worker_heartbeat,
)
from pages.components.home.demo import demo_box, demo_story
from pages.components.shared.common import status_markdown, workspace
from pages.components.shared.errors import catch_errors, catch_errors_in
from pages.components.shared.formatting import (
    escape_markdown,
    format_datetime,
    format_int,
    format_percent,
)
from pages.components.shared.stack import draw_plan
from pages.components.shared.stall_warnings import show_stall_warnings

MAX_LATEST_RUNS = 6
TICK_SECONDS = 2.0
DEVICES = {"cuda": "GPU (CUDA)", "cpu": "CPU"}


def show_introduction() -> None:
    """Show the question that Thaw answers."""
    st.title("Thaw")
    st.markdown(
        "##### How much of a pretrained click model should stay frozen when you fine-tune it on"
        " your traffic?"
    )
    st.markdown(
        "A backbone trained on a plentiful **source** domain already knows much of what "
        "your scarce **target** domain needs. Freeze too little and it forgets; freeze too "
        "much and it cannot adapt. Thaw trains each choice in the background and compares "
        "them on the same test rows, with intervals."
    )


def show_method() -> None:
    """Show the method in one picture: a backbone with the freeze line in the middle."""
    with st.container(border=True), catch_errors():
        card = demo_backbone(workspace())
        st.markdown(
            "Stages **above the line** are trained on the target domain. Stages **below "
            "it** keep what they learned from the source domain. Every depth gives another "
            "model: which one is best on *your* rows?"
        )
        draw_plan(
            make_plan(
                card, "depth", len(card.stages) // 2, card.head, keep_head=default_keep_head(card)
            )
        )


def show_queue(store: RunStore) -> None:
    """Show device, worker and queue as five numbers."""
    counts = store.count_by_status()
    alive = [queue for queue in QUEUES if is_worker_alive(workspace(), queue)]
    state = "running" if alive else "not running"
    if any(check_heartbeat(worker_heartbeat(workspace(), queue)).stall for queue in alive):
        state = "stalled"
    with st.grid(5, min_column_width=150):
        st.metric("Device", DEVICES[queue_for_device("auto")], border=True)
        help_text = (
            "The process that trains, separate from this app. It starts when a run is queued."
        )
        st.metric("Worker", state, border=True, help=help_text)
        for status in ("queued", "running", "done"):
            st.metric(f"Runs {status}", format_int(counts.get(status, 0)), border=True)


def show_latest_runs(runs: list[Run]) -> None:
    """Show the newest runs, each a link to its page."""
    st.subheader("Latest runs")
    if not runs:
        st.markdown(
            "There are no runs yet. Run the demo above, or bring your own Criteo sample on "
            "the page *Data* and move the freeze line on *Fine-tune*."
        )
        st.page_link("data.py", label="Bring your own sample", icon=":material/table_chart:")
    for run in runs:
        with st.container(horizontal=True, vertical_alignment="center", border=True, gap="small"):
            st.markdown(status_markdown(run.status), width=110)
            st.page_link(
                "run.py",
                label=escape_markdown(run.name),
                query_params={"run": run.id},
                width="stretch",
            )
            st.markdown(f":small[{describe_outcome(run)}]", width="content")


def describe_outcome(run: Run) -> str:
    """Describe a run in a few words: its AUC, its progress, or when it was created."""
    if run.result and "target_test" in run.result.metrics:
        return format_interval(run.result.metrics["target_test"], 3)
    if run.status == "running":
        if stall := check_stall(workspace(), run).stall:
            return f":orange[stalled since {format_datetime(stall.since)}]"
        return f"{run.phase}, {format_percent(run.step / run.steps, 0)}" if run.steps else run.phase
    return format_datetime(run.finished or run.created)


def any_active(store: RunStore) -> bool:
    """Return whether any run or interpolation is queued or running."""
    counts = store.count_by_status()
    return counts.get("queued", 0) + counts.get("running", 0) > 0


def show_overview(ticking: bool) -> None:
    """Show the queue and the latest runs.

    Args:
        ticking: whether this is redrawn every TICK_SECONDS; the page reruns once nothing is active.
    """
    store = RunStore(workspace())
    refresh_statuses(workspace(), store)
    runs = store.list(limit=MAX_LATEST_RUNS)
    if ticking and not any_active(store):
        st.rerun()
    show_queue(store)
    show_stall_warnings([run for run in runs if run.active])
    show_latest_runs(runs)


text, picture = st.columns([6, 5], gap="medium")
with text:
    show_introduction()
with picture:
    show_method()
with catch_errors():
    active = any_active(RunStore(workspace()))
    interval = TICK_SECONDS if active else None
    with text:
        st.fragment(catch_errors_in(demo_box), run_every=interval)()
    st.fragment(catch_errors_in(demo_story), run_every=interval)()
    st.fragment(catch_errors_in(show_overview), run_every=interval)(active)
