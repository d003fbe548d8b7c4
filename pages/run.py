"""Run: one run watched live, then read: metrics before and after, confusion matrix, ROC, calibration."""

import streamlit as st

from core.data.datasets import list_datasets
from core.errors import ThawError
from core.runs.launch import ensure_worker, refresh
from core.runs.store import RESUMABLE, Run, RunStore
from core.runs.submit import command_line
from core.training.settings import request_from_json
from pages.components.common import (
    SIMULATED,
    command_hint,
    duration,
    errors_shown,
    escape_markdown,
    plain,
    show_error,
    status_markdown,
    when,
    workspace,
)
from pages.components.decisions import decisions_view
from pages.components.live import live_view
from pages.components.mixing import mixing_view
from pages.components.result import result_view

NO_RUNS = (
    "No runs yet. Launch one on **Fine-tune**, pretrain a backbone on **Backbones**, or run the demo from **Home**."
)


def pick(runs: list[Run]) -> str:
    """The run in the URL, else the newest; a box to choose another puts its id into the URL."""
    names: dict[str, str] = {}
    for run in runs:
        label = f"{run.name} · {when(run.created)} · {run.status}"
        # The box tells its options apart by what they show.
        names[run.id] = f"{label} · {run.id}" if label in names.values() else label
    ids = list(names)
    named = st.query_params.get("run", ids[0])
    if named not in names:
        st.error(f"There is no run {plain(repr(named[:40]))} in this workspace; the newest is shown instead.")
        named = ids[0]
    chosen = st.selectbox(
        "Run", ids, index=ids.index(named), format_func=names.__getitem__, label_visibility="collapsed"
    )
    if chosen != named:
        st.query_params["run"] = chosen
        st.rerun()
    return chosen


def header(run: Run) -> None:
    """Name, status and what can be done now."""
    store = RunStore(workspace())
    title, actions = st.columns([5, 2], vertical_alignment="center")
    title.subheader(escape_markdown(run.name))
    known = [dataset for dataset in list_datasets(workspace()) if dataset.id == run.dataset]
    simulated = f" {SIMULATED}" if any(dataset.simulated for dataset in known) else ""
    spent = duration(run.result["seconds"]["total"]) if run.result else ""
    title.markdown(
        f"{status_markdown(run.status)}{simulated} :gray[created {when(run.created)}"
        + (f" · took {spent} on {run.result['device']}" if run.result else "")
        + "]"
    )
    with actions.container(horizontal=True, horizontal_alignment="right"):
        if run.active and st.button("Cancel", icon=":material/cancel:", disabled=run.cancel_asked is not None):
            store.request_cancel(run.id)
            st.rerun()
        if run.status in RESUMABLE and st.button("Resume", icon=":material/play_arrow:", type="primary"):
            store.resume(run.id)
            ensure_worker(workspace(), run.lane)
            st.rerun()
        if st.button("Compare", icon=":material/compare_arrows:"):
            members = [other.id for other in store.list() if run.group and other.group == run.group] or [run.id]
            st.switch_page("compare.py", query_params={"runs": ",".join(members)})
    if run.message:
        notice = st.error if run.status == "failed" else st.warning
        notice(plain(run.message))


def annotations(run: Run) -> None:
    """Name, tags and note, to be changed at any time."""
    with st.expander("Name, tags and note", icon=":material/edit_note:"), st.form(f"annotate-{run.id}", border=False):
        name = st.text_input("Name", run.name, max_chars=120)
        tags = st.text_input("Tags, separated by commas", ", ".join(run.tags))
        note = st.text_area("Note", run.note, max_chars=4000)
        if st.form_submit_button("Save"):
            with errors_shown():
                RunStore(workspace()).annotate(run.id, name, tags.split(","), note)
                st.rerun()


def repeat(run: Run) -> None:
    """The command line that asks for the same run, as long as its dataset and backbone are there."""
    with st.container():
        try:
            command_hint(command_line(workspace(), request_from_json(run.request)))
        except ThawError as error:
            st.caption(f"This run cannot be repeated as it was: {plain(str(error))}")


st.title("Run")
try:
    store = RunStore(workspace())
    refresh(workspace(), store)
    every = store.list()
    if not every:
        st.info(NO_RUNS, icon=":material/info:")
        st.stop()
    run = store.get(pick(every))
    header(run)
    if run.status == "done" and run.result:
        result_view(run)
        if run.kind == "finetune":
            decisions_view(run)
            if run.request["strategy"] != "zero-shot":
                mixing_view(run)
    else:
        live_view(run)
    annotations(run)
    repeat(run)
except ThawError as error:
    show_error(error)
