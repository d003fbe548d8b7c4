"""Sweep: strategies × seeds queued with one click, and the result as it comes, with what it allows
to say."""

import streamlit as st

from core.data.datasets import list_datasets
from core.jobs.store import RunStore
from core.models.backbone_store import list_backbones
from core.runs.launch import refresh_statuses
from core.runs.sweep import Sweep, list_sweeps
from pages.components.shared.common import (
    catch_errors,
    escape_inline,
    escape_markdown,
    format_datetime,
    workspace,
)
from pages.components.shared.inline_scripts import SCROLL_TO_TOP
from pages.components.shared.widget_sync import reapply_unseen, render_ack_field
from pages.components.sweep.sweep_form import JUST_LAUNCHED, sweep_form
from pages.components.sweep.sweep_view import sweep_view

NEW = "new"


def pick(sweeps: list[Sweep]) -> Sweep | None:
    """The sweep that the address names, None for a new one; a box to choose another writes it to
    the address."""
    by_id = {sweep.id: sweep for sweep in sweeps}
    asked = st.query_params.get("sweep", NEW)
    named = next((sweep.id for sweep in sweeps if asked in (sweep.id, sweep.name)), asked)
    if named != NEW and named not in by_id:
        st.error(
            f"There is no sweep {escape_inline(repr(asked[:64]))} in this workspace; here is the form for a"
            " new one."
        )
        named = NEW
    if not sweeps:
        return None
    st.session_state["sweep_pick"] = named
    st.selectbox(
        "Sweep",
        [NEW, *by_id],
        format_func=lambda key: (
            f"{by_id[key].name} · {format_datetime(by_id[key].created)}"
            if key in by_id
            else "New sweep"
        ),
        key="sweep_pick",
        on_change=to_address,
        label_visibility="collapsed",
        help="The sweep that this page shows, or the form for a new one. It changes no result.",
    )
    return by_id.get(named)


def to_address() -> None:
    """Puts the chosen sweep into the address, and nothing for a new one."""
    chosen = st.session_state["sweep_pick"]
    st.query_params.from_dict({} if chosen == NEW else {"sweep": chosen})


def point_to_active(sweeps: list[Sweep]) -> None:
    """Leads back to a sweep that still runs."""
    active = {
        run.group for status in ("running", "queued") for run in RunStore(workspace()).list(status)
    }
    for sweep in sweeps:
        if sweep.id in active:
            with st.container(horizontal=True, vertical_alignment="center"):
                words = f":material/play_circle: **{escape_markdown(sweep.name)}** is under way."
                st.markdown(words, width="content")
                if st.button("Watch it", key=f"watch_{sweep.id}", icon=":material/visibility:"):
                    st.query_params.from_dict({"sweep": sweep.id})
                    st.rerun()
            return


def form(sweeps: list[Sweep]) -> None:
    """The form, or what is missing before there can be one."""
    datasets = [dataset for dataset in list_datasets(workspace()) if dataset.labelled]
    cards = list_backbones(workspace())
    if not datasets:
        st.info(
            "There is no dataset yet. Bring in a Criteo sample, or simulate one.",
            icon=":material/table_chart:",
        )
        st.page_link("data.py", label="Prepare a dataset", icon=":material/table_chart:")
    elif not cards:
        st.info(
            "There is no backbone yet. Pretrain one on the source rows of a dataset.",
            icon=":material/stacks:",
        )
        st.page_link(
            "backbones.py",
            label="Pretrain a backbone",
            icon=":material/stacks:",
            query_params={"section": "Pretrain"},
        )
    else:
        reapply_unseen()
        point_to_active(sweeps)
        sweep_form(datasets, cards)
        render_ack_field()


heading, box = st.columns([3, 2], vertical_alignment="center")
heading.title("Sweep")
with catch_errors():
    refresh_statuses(workspace(), RunStore(workspace()))
    every = list_sweeps(workspace())
    with box:
        chosen = pick(every)
    if chosen is None:
        st.markdown(
            "Tick strategies; each runs over the same seeds, rows and budget, and their numbers are"
            " compared."
        )
        form(every)
    else:
        sweep_view(chosen)
        if st.session_state.pop(JUST_LAUNCHED, False):
            # The page stays the same to Streamlit, so it would stay scrolled as far as the long
            # form was.
            st.html(f"<script>{SCROLL_TO_TOP}</script>", unsafe_allow_javascript=True)
