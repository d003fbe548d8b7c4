"""Run: one run, live while it trains; afterwards metrics, confusion matrix, ROC and calibration."""

import shlex

import streamlit as st

from core.errors import ThawError
from core.freezing.strategies import has_own_model, is_trained
from core.jobs.store import RESUMABLE_STATUSES, Run, RunStore
from core.program import PROGRAM
from core.runs.command_lines import command_line
from core.runs.launch import refresh_statuses
from core.runs.submit import resume_run
from pages.components.run.against_controls import against_controls
from pages.components.run.calibration import calibration_section
from pages.components.run.decisions import decisions_section
from pages.components.run.live import live_view
from pages.components.run.result import result_view
from pages.components.run.use_run import use_run
from pages.components.run.why import why_section
from pages.components.shared.access import guarded_button, guarded_form_button
from pages.components.shared.choose_run import choose_run, simulated_suffix
from pages.components.shared.common import (
    show_command,
    show_open_commands,
    status_markdown,
    workspace,
)
from pages.components.shared.errors import catch_errors, show_error
from pages.components.shared.formatting import (
    escape_inline,
    escape_markdown,
    format_datetime,
    format_duration,
)
from pages.components.shared.interpolation import interpolation_section
from pages.components.shared.no_runs import show_no_runs
from pages.components.shared.weight_drift import weight_drift_section

NO_RUNS = (
    "No runs yet. Launch one on **Fine-tune**, pretrain a backbone on **Backbones**, or run the"
    " demo from **Home**."
)


def show_header(run: Run) -> None:
    """Show name and status, and the actions that are possible now."""
    store = RunStore(workspace())
    title, actions = st.columns([5, 2], vertical_alignment="center")
    title.subheader(escape_markdown(run.name))
    spent = format_duration(run.result.total_seconds) if run.result else ""
    title.markdown(
        f"{status_markdown(run.status)}{simulated_suffix(run)} :gray[created "
        f"{format_datetime(run.created)}"
        + (f" · took {spent} on {run.result.device}" if run.result else "")
        + "]"
    )
    with actions.container(horizontal=True, horizontal_alignment="right"):
        if run.active and guarded_button(
            "Cancel", icon=":material/cancel:", disabled=run.cancel_requested is not None
        ):
            store.request_cancel(run.id)
            st.rerun()
        resumed = run.status in RESUMABLE_STATUSES and guarded_button(
            "Resume", icon=":material/play_arrow:", type="primary"
        )
        if st.button("Compare", icon=":material/compare_arrows:"):
            members = [
                other.id for other in store.list() if run.group and other.group == run.group
            ] or [run.id]
            st.switch_page("compare.py", query_params={"runs": ",".join(members)})
    if resumed:
        with catch_errors():
            resume_run(workspace(), run.id)
            st.rerun()
    if run.message:
        notice = st.error if run.status == "failed" else st.warning
        notice(escape_inline(run.message))


def annotations_form(run: Run) -> None:
    """Draw name, tags and note, which can be changed at any time."""
    box = st.expander("Name, tags and note", icon=":material/edit_note:")
    with box, st.form(f"annotate-{run.id}", border=False):
        name = st.text_input(
            "Name", run.name, max_chars=120, help="The name in lists. It changes no result."
        )
        tags = st.text_input(
            "Tags, separated by commas",
            ", ".join(run.tags),
            help="Words to find this run by on Compare; they change no result.",
        )
        note = st.text_area(
            "Note",
            run.note,
            max_chars=4000,
            help="What you want to remember about this run; it changes no result.",
        )
        if guarded_form_button("Save"):
            with catch_errors():
                RunStore(workspace()).annotate(run.id, name, tags.split(","), note)
                st.rerun()
    with box:
        show_open_commands(
            f"{PROGRAM} rename --run {run.id} --name {shlex.quote(run.name)}",
            f"{PROGRAM} tag --run {run.id} --set {shlex.quote(','.join(run.tags))}",
            f"{PROGRAM} note --run {run.id} --text TEXT",
        )


def show_commands(run: Run) -> None:
    """Show the commands that repeat, watch, cancel or resume the run.

    The one that repeats it is shown if its dataset and backbone still exist.
    """
    with st.container():
        commands = [
            f"{PROGRAM} {name} --run {run.id}" for name in ("watch", "cancel") if run.active
        ]
        commands += [f"{PROGRAM} resume --run {run.id}"] * (run.status in RESUMABLE_STATUSES)
        try:
            show_command("\n".join([command_line(workspace(), run.request), *commands]))
        except ThawError as error:
            st.caption(f"This run cannot be repeated as it was: {escape_inline(str(error))}")


st.title("Run")
try:
    store = RunStore(workspace())
    refresh_statuses(workspace(), store)
    all_runs = store.list()
    if not all_runs:
        show_no_runs(NO_RUNS)
        st.stop()
    run = choose_run(
        all_runs,
        lambda named: (
            f"There is no run {named[:40]!r} in this workspace; the newest is shown instead."
        ),
    )
    show_header(run)
    if run.status == "done" and run.result:
        against_controls(run)
        result_view(run)
        calibration_section(run)
        if run.kind in ("finetune", "blend"):
            decisions_section(run)
            own = run.kind == "finetune" and not has_own_model(run.strategy)
            if own and is_trained(run.strategy):
                interpolation_section(run)
                weight_drift_section(run)
        if run.kind in ("finetune", "blend") and run.result.threshold is not None:
            why_section(run)
        use_run(run)
    else:
        live_view(run)
    annotations_form(run)
    show_commands(run)
except ThawError as error:
    show_error(error)
