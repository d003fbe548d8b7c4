"""Compare: every run in a table, several of them side by side, with intervals instead of rankings of noise."""

import pandas as pd
import streamlit as st

from core.errors import ThawError
from core.runs.launch import refresh
from core.runs.store import Run, RunStore
from pages.components.access import write_button
from pages.components.common import errors_shown, escape_markdown, show_error, workspace
from pages.components.run_table import filter_runs, run_table, safe_csv
from pages.components.side_by_side import side_by_side

NO_RUNS = "No runs yet. Launch one on **Fine-tune**, or run the demo from **Home**; they appear here as they come."


def chosen_in_url(runs: list[Run]) -> list[str]:
    """Runs named in the URL, else the finished runs launched together last."""
    known = {run.id for run in runs}
    named = [run_id for run_id in st.query_params.get("runs", "").split(",") if run_id in known]
    if named or not runs:
        return named
    newest = next((run.group for run in runs if run.group and run.status == "done"), None)
    return [run.id for run in runs if newest and run.group == newest]


@st.dialog("Delete runs")
def confirm_delete(runs: list[Run]) -> None:
    """Asks once more, naming what goes."""
    st.write(f"Delete {len(runs)} run(s) with their models, predictions and curves? This cannot be undone.")
    for run in runs[:10]:
        st.markdown(f"- {escape_markdown(run.name)}")
    if write_button("Delete", type="primary", icon=":material/delete:"):
        with errors_shown():
            for run in runs:
                RunStore(workspace()).delete(run.id)
            st.query_params.pop("runs", None)
            st.session_state.pop("compare-runs", None)
            st.rerun()


@st.dialog("Tag runs")
def add_tags(runs: list[Run]) -> None:
    """Adds tags to every chosen run."""
    text = st.text_input(
        "Tags, separated by commas",
        placeholder="baseline, week 47",
        help="Words to find these runs by; they are added to the tags there are and change no result.",
    )
    if write_button("Add", type="primary", disabled=not text.strip()):
        for run in runs:
            RunStore(workspace()).annotate(run.id, run.name, [*run.tags, *text.split(",")], run.note)
        st.rerun()


def actions(runs: list[Run], shown: pd.DataFrame) -> None:
    """What can be done with the chosen runs."""
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button("Open", icon=":material/monitoring:", disabled=len(runs) != 1):
            st.switch_page("run.py", query_params={"run": runs[0].id})
        if write_button("Tag", icon=":material/label:", disabled=not runs):
            add_tags(runs)
        if write_button("Delete", icon=":material/delete:", disabled=not runs):
            confirm_delete(runs)
        st.download_button(
            "CSV of the table",
            safe_csv(shown),
            "thaw-runs.csv",
            "text/csv",
            icon=":material/download:",
            on_click="ignore",
        )
        st.caption(f"{len(runs)} chosen; tick rows to choose. A click on a column's head sorts.")


st.title("Compare")
try:
    store = RunStore(workspace())
    refresh(workspace(), store)
    every = store.list()
    if not every:
        st.info(NO_RUNS, icon=":material/info:")
        st.stop()
    filtered = filter_runs(every)
    ids, table = run_table(filtered, chosen_in_url(every))
    chosen = [run for run in filtered if run.id in ids]
    actions(chosen, table)
    if ids:
        st.query_params["runs"] = ",".join(ids)
    side_by_side(chosen)
except ThawError as error:
    show_error(error)
