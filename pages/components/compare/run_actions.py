"""What can be done with the runs chosen on Compare: open, tag, note, delete; choose all or none;
files of the table."""

from functools import partial

import pandas as pd
import streamlit as st

from core.jobs.store import Run, RunStore
from core.program import PROGRAM
from core.report.table_files import to_safe_csv
from core.runs.removal import delete_runs
from pages.components.shared.access import guarded_button
from pages.components.shared.common import (
    catch_errors,
    escape_markdown,
    show_open_commands,
    workspace,
)
from pages.components.shared.report_download import report_download

MAX_NAMED = 10
"""Chosen runs up to which a dialog names each of them."""


def join_ids(runs: list[Run]) -> str:
    """The runs as a command line names them."""
    return ",".join(run.id for run in runs)


def select_runs(ids: list[str]) -> None:
    """Puts a choice into the address, and makes the table anew with these rows ticked."""
    st.query_params["runs"] = ",".join(ids)
    st.session_state["compare_round"] = selection_round() + 1


def selection_round() -> int:
    """How often a button has made the choice."""
    return int(st.session_state.get("compare_round", 0))


@st.dialog("Delete runs")
def confirm_delete(runs: list[Run]) -> None:
    """Asks once more, naming what goes."""
    st.write(
        f"Delete {len(runs)} run(s) with their models, predictions and curves? This cannot be"
        " undone."
    )
    for run in runs[:MAX_NAMED]:
        st.markdown(f"- {escape_markdown(run.name)}")
    if len(runs) > MAX_NAMED:
        st.markdown(f"- and {len(runs) - MAX_NAMED} more")
    if guarded_button("Delete", type="primary", icon=":material/delete:"):
        with catch_errors():
            delete_runs(workspace(), [run.id for run in runs])
            select_runs([])
            st.rerun()
    if len(runs) <= MAX_NAMED:
        show_open_commands(f"{PROGRAM} delete --run {join_ids(runs)}")


@st.dialog("Tags and note")
def annotate_dialog(runs: list[Run]) -> None:
    """Adds tags to every chosen run, takes tags off them, or gives them a note."""
    text = st.text_input(
        "Add tags, separated by commas",
        placeholder="baseline, week 47",
        help="Words to find these runs by; they change no result.",
    )
    there = sorted({tag for run in runs for tag in run.tags})
    gone = (
        st.multiselect(
            "Take tags off", there, help="Tags that the chosen runs lose; no result changes."
        )
        if there
        else []
    )
    notes = {run.note for run in runs}
    same = notes.pop() if len(notes) == 1 else ""
    note = st.text_area(
        "Note",
        same,
        max_chars=4000,
        placeholder="The chosen runs have several notes; one given here replaces them.",
        help="What you want to remember about these runs; it changes no result.",
    )
    if guarded_button("Save", type="primary"):
        with catch_errors():
            store = RunStore(workspace())
            store.change_tags([run.id for run in runs], text.split(","), gone)
            for run in runs if note != same else ():
                store.annotate(run.id, note=note)
            st.rerun()
    if len(runs) <= MAX_NAMED:
        show_open_commands(
            f"{PROGRAM} tag --run {join_ids(runs)} --add TAGS --remove TAGS",
            f"{PROGRAM} note --run {join_ids(runs)} --text TEXT",
        )


def show_run_actions(runs: list[Run], shown: list[Run], hidden: int, table: pd.DataFrame) -> None:
    """What can be done with the chosen runs, and the table as files."""
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button("Open", icon=":material/monitoring:", disabled=len(runs) != 1):
            st.switch_page("run.py", query_params={"run": runs[0].id})
        if guarded_button("Tags and note", icon=":material/label:", disabled=not runs):
            annotate_dialog(runs)
        if guarded_button("Delete", icon=":material/delete:", disabled=not runs):
            confirm_delete(runs)
        st.button(
            "Choose all shown",
            on_click=select_runs,
            args=([run.id for run in shown],),
            disabled=not shown,
        )
        st.button("Choose none", on_click=select_runs, args=([],), disabled=not runs)
        for title, ending, mime, data in (
            ("CSV of the table", "csv", "text/csv", partial(to_safe_csv, table)),
            (
                "Parquet",
                "parquet",
                "application/vnd.apache.parquet",
                partial(table.to_parquet, index=False),
            ),
        ):
            st.download_button(
                title, data, f"thaw-runs.{ending}", mime, icon=":material/download:", on_click="ignore",
                disabled=table.empty,
            )  # fmt: skip
        report_download("report_compare", runs=[run.id for run in runs], disabled=not runs)
        behind = f", {hidden} of them behind the filters" if hidden else ""
        st.caption(
            f"{len(runs)} chosen{behind}; tick rows to choose. A click on a column's head sorts."
        )
