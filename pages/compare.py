"""Compare: every run in a table, the chosen ones side by side as arms, with intervals instead of rankings of noise."""

from functools import partial

import pandas as pd
import streamlit as st

from core.errors import ThawError
from core.runs.launch import refresh
from core.runs.store import Run, RunStore
from core.runs.sweep import list_sweeps
from pages.components.common import errors_shown, escape_markdown, show_error, workspace
from pages.components.run_table import ROWS, arm_frame, filter_runs, run_frame, run_table, safe_csv
from pages.components.side_by_side import side_by_side

NO_RUNS = "No runs yet. Launch one on **Fine-tune**, or run the demo from **Home**; they appear here as they come."


def chosen_in_address(runs: list[Run]) -> list[str]:
    """Runs that the address names; without any word of them there, the finished runs launched together last."""
    if "runs" not in st.query_params:
        newest = next((run.group for run in runs if run.group and run.status == "done"), None)
        return [run.id for run in runs if newest and run.group == newest]
    known = {run.id for run in runs}
    named = [*dict.fromkeys(filter(None, st.query_params["runs"].split(",")))]
    if unknown := [run_id for run_id in named if run_id not in known]:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        st.warning(f"The address names {unknown[0][:40]!r}{more}, which is no run here; it is left out.")
    return [run_id for run_id in named if run_id in known]


def choose(ids: list[str]) -> None:
    """Puts a choice into the address, and makes the table anew with these rows ticked."""
    st.query_params["runs"] = ",".join(ids)
    st.session_state["compare_round"] = st.session_state.get("compare_round", 0) + 1


@st.dialog("Delete runs")
def confirm_delete(runs: list[Run]) -> None:
    """Asks once more, naming what goes."""
    st.write(f"Delete {len(runs)} run(s) with their models, predictions and curves? This cannot be undone.")
    for run in runs[:10]:
        st.markdown(f"- {escape_markdown(run.name)}")
    if len(runs) > 10:
        st.markdown(f"- and {len(runs) - 10} more")
    if st.button("Delete", type="primary", icon=":material/delete:"):
        with errors_shown():
            for run in runs:
                RunStore(workspace()).delete(run.id)
            choose([])
            st.rerun()


@st.dialog("Tags and note")
def annotate(runs: list[Run]) -> None:
    """Adds tags to every chosen run, takes tags off them, or gives them a note."""
    text = st.text_input("Add tags, separated by commas", placeholder="baseline, week 47")
    there = sorted({tag for run in runs for tag in run.tags})
    gone = st.multiselect("Take tags off", there) if there else []
    notes = {run.note for run in runs}
    same = notes.pop() if len(notes) == 1 else ""
    note = st.text_area(
        "Note", same, max_chars=4000, placeholder="The chosen runs have several notes; one given here replaces them."
    )
    if st.button("Save", type="primary"):
        for run in runs:
            tags = [*(tag for tag in run.tags if tag not in gone), *text.split(",")]
            RunStore(workspace()).annotate(run.id, run.name, tags, run.note if note == same else note)
        st.rerun()


def actions(runs: list[Run], shown: list[Run], hidden: int, table: pd.DataFrame) -> None:
    """What can be done with the chosen runs, and the table as files."""
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button("Open", icon=":material/monitoring:", disabled=len(runs) != 1):
            st.switch_page("run.py", query_params={"run": runs[0].id})
        if st.button("Tags and note", icon=":material/label:", disabled=not runs):
            annotate(runs)
        if st.button("Delete", icon=":material/delete:", disabled=not runs):
            confirm_delete(runs)
        st.button("Choose all shown", on_click=choose, args=([run.id for run in shown],), disabled=not shown)
        st.button("Choose none", on_click=choose, args=([],), disabled=not runs)
        for title, ending, mime, data in (
            ("CSV of the table", "csv", "text/csv", partial(safe_csv, table)),
            ("Parquet", "parquet", "application/vnd.apache.parquet", partial(table.to_parquet, index=False)),
        ):
            st.download_button(
                title, data, f"thaw-runs.{ending}", mime, icon=":material/download:", on_click="ignore",
                disabled=table.empty,
            )  # fmt: skip
        behind = f", {hidden} of them behind the filters" if hidden else ""
        st.caption(f"{len(runs)} chosen{behind}; tick rows to choose. A click on a column's head sorts.")


st.title("Compare")
try:
    store = RunStore(workspace())
    refresh(workspace(), store)
    every = store.list()
    if not every:
        st.info(NO_RUNS, icon=":material/info:")
        st.stop()
    sweeps = {sweep.id: sweep.name for sweep in list_sweeps(workspace())}
    filtered = filter_runs(every, sweeps)
    before = chosen_in_address(every)
    by_arm = (
        st.segmented_control(
            "Rows", [*ROWS], format_func=ROWS.__getitem__, default="run", required=True, key="rows",
            bind="query-params", label_visibility="collapsed",
        )
        == "arm"
    )  # fmt: skip
    table, ticked = pd.DataFrame(), []
    if filtered:
        table = run_frame(filtered, store.validation(), sweeps)
        of_rows: list[tuple[str, ...]] = [(run.id,) for run in filtered]
        if by_arm:
            of_rows, table = arm_frame(filtered, table)
        ticked = run_table(of_rows, table, before, st.session_state.get("compare_round", 0))
    else:
        st.info("No run passes the filters; take some off.", icon=":material/filter_alt:")
    # What is chosen stays chosen behind a filter: one looks for the next run to choose.
    shown = {run.id for run in filtered}
    hidden = [run_id for run_id in before if run_id not in shown]
    chosen = [run for run in every if run.id in {*ticked, *hidden}]
    st.query_params["runs"] = ",".join(run.id for run in chosen)
    actions(chosen, filtered, len(hidden), table)
    side_by_side(chosen)
except ThawError as error:
    show_error(error)
