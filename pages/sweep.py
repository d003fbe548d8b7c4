"""Sweep: strategies × seeds queued with one click, and the results as they arrive."""

import streamlit as st

from core.jobs.store import RunStore
from core.runs.launch import refresh_statuses
from core.runs.sweep import Sweep, list_sweeps
from pages.components.shared import url_state
from pages.components.shared.choosers import datasets_and_backbones
from pages.components.shared.common import workspace
from pages.components.shared.errors import catch_errors
from pages.components.shared.formatting import escape_inline, escape_markdown, format_datetime
from pages.components.shared.inline_scripts import SCROLL_TO_TOP
from pages.components.shared.widget_sync import reapply_unseen, render_ack_field
from pages.components.sweep.search_form import search_form
from pages.components.sweep.sweep_form import JUST_LAUNCHED, sweep_form
from pages.components.sweep.sweep_view import sweep_view

NEW = "new"
SWEEP, SEARCH = "sweep", "search"
# What the form sets up, by its word in the URL.
MODES = {SWEEP: "Sweep", SEARCH: "Search within a budget"}


def choose_sweep(sweeps: list[Sweep]) -> Sweep | None:
    """Return the sweep in the URL, None for a new one; the box writes another choice there."""
    by_id = {sweep.id: sweep for sweep in sweeps}
    requested = url_state.get("sweep") or NEW
    sweep_id = next(
        (sweep.id for sweep in sweeps if requested in (sweep.id, sweep.name)), requested
    )
    if sweep_id != NEW and sweep_id not in by_id:
        st.error(
            f"There is no sweep {escape_inline(repr(requested[:64]))} in this workspace; here is "
            "the form for a new one."
        )
        sweep_id = NEW
    if not sweeps:
        return None
    st.session_state["sweep_pick"] = sweep_id
    st.selectbox(
        "Sweep",
        [NEW, *by_id],
        format_func=lambda key: (
            f"{by_id[key].name} · {format_datetime(by_id[key].created)}"
            if key in by_id
            else "New sweep"
        ),
        key="sweep_pick",
        on_change=save_choice,
        label_visibility="collapsed",
        help="The sweep that this page shows, or the form for a new one. It changes no result.",
    )
    return by_id.get(sweep_id)


def save_choice() -> None:
    """Write the chosen sweep to the URL; nothing for a new one."""
    chosen = st.session_state["sweep_pick"]
    url_state.replace(**({} if chosen == NEW else {"sweep": chosen}))


def link_to_active(sweeps: list[Sweep]) -> None:
    """Link to a sweep that is still running."""
    active = {
        run.group for status in ("running", "queued") for run in RunStore(workspace()).list(status)
    }
    for sweep in sweeps:
        if sweep.id in active:
            with st.container(horizontal=True, vertical_alignment="center"):
                words = f":material/play_circle: **{escape_markdown(sweep.name)}** is running."
                st.markdown(words, width="content")
                if st.button("Watch it", key=f"watch_{sweep.id}", icon=":material/visibility:"):
                    url_state.replace(sweep=sweep.id)
                    st.rerun()
            return


def choose_mode() -> str:
    """Return whether a sweep or a search within a budget is set up; the URL carries it."""
    if (requested := url_state.read_new("mode")) is not None:
        if requested not in MODES:
            url_state.warn_ignored(requested, f"The mode is one of {', '.join(MODES)}.")
        st.session_state["sweep_mode"] = requested if requested in MODES else SWEEP
    st.session_state.setdefault("sweep_mode", SWEEP)
    mode = st.segmented_control(
        "What to run",
        [*MODES],
        format_func=MODES.__getitem__,
        key="sweep_mode",
        label_visibility="collapsed",
        required=True,
        help=(
            "A sweep runs every strategy that you select. A search chooses strategy, learning "
            "rate, head and weight decay itself, within a number of runs or minutes."
        ),
    )
    url_state.write("mode", mode or SWEEP, SWEEP)
    return mode or SWEEP


def new_sweep_form(sweeps: list[Sweep]) -> None:
    """Draw the form, or say what is missing."""
    if available := datasets_and_backbones():
        reapply_unseen()
        link_to_active(sweeps)
        if choose_mode() == SEARCH:
            search_form(*available)
        else:
            sweep_form(*available)
        render_ack_field()


heading, box = st.columns([3, 2], vertical_alignment="center")
heading.title("Sweep")
with catch_errors():
    refresh_statuses(workspace(), RunStore(workspace()))
    all_sweeps = list_sweeps(workspace())
    with box:
        chosen = choose_sweep(all_sweeps)
    if chosen is None:
        st.markdown(
            "Select strategies. Each runs with the same seeds, rows and budget, and the "
            "results are compared. Or have the best settings searched within a budget."
        )
        new_sweep_form(all_sweeps)
    else:
        sweep_view(chosen)
        if st.session_state.pop(JUST_LAUNCHED, False):
            # For Streamlit it is the same page, so it would keep the scroll position of the long
            # form.
            st.html(f"<script>{SCROLL_TO_TOP}</script>", unsafe_allow_javascript=True)
