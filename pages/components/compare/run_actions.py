"""Actions on the selected runs of Compare.

They are open, tag, note, delete, select all or none, and download.
"""

from functools import partial

import pandas as pd
import streamlit as st

from core.jobs.store import Run, RunStore
from core.program import PROGRAM
from core.report.table_files import to_safe_csv
from core.runs.removal import delete_runs
from pages.components.shared import url_state
from pages.components.shared.access import guarded_button
from pages.components.shared.common import show_open_commands, workspace
from pages.components.shared.errors import catch_errors
from pages.components.shared.formatting import escape_markdown
from pages.components.shared.report_download import report_download

MAX_NAMED = 10
"""Maximum number of runs that a dialog lists by name."""


def join_ids(runs: list[Run]) -> str:
    """Return the run ids as a command line takes them."""
    return ",".join(run.id for run in runs)


def select_runs(ids: list[str]) -> None:
    """Write a selection to the URL and redraw the table with these rows selected."""
    url_state.put("runs", ",".join(ids))
    st.session_state["compare_round"] = selection_round() + 1


def selection_round() -> int:
    """Return how often a button has changed the selection."""
    return int(st.session_state.get("compare_round", 0))


@st.dialog("Delete runs")
def confirm_delete(runs: list[Run]) -> None:
    """Ask for confirmation, naming the runs."""
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
    """Add tags to every selected run, remove tags, or set a note."""
    text = st.text_input(
        "Add tags, separated by commas",
        placeholder="baseline, week 47",
        help="Words to find these runs by; they change no result.",
    )
    existing = sorted({tag for run in runs for tag in run.tags})
    removed = (
        st.multiselect(
            "Remove tags",
            existing,
            help="Tags to remove from the selected runs; no result changes.",
        )
        if existing
        else []
    )
    notes = {run.note for run in runs}
    same = notes.pop() if len(notes) == 1 else ""
    note = st.text_area(
        "Note",
        same,
        max_chars=4000,
        placeholder="The selected runs have different notes; a note entered here replaces them.",
        help="What you want to remember about these runs; it changes no result.",
    )
    if guarded_button("Save", type="primary"):
        with catch_errors():
            store = RunStore(workspace())
            store.change_tags([run.id for run in runs], text.split(","), removed)
            for run in runs if note != same else ():
                store.annotate(run.id, note=note)
            st.rerun()
    if len(runs) <= MAX_NAMED:
        show_open_commands(
            f"{PROGRAM} tag --run {join_ids(runs)} --add TAGS --remove TAGS",
            f"{PROGRAM} note --run {join_ids(runs)} --text TEXT",
        )


def show_run_actions(runs: list[Run], shown: list[Run], hidden: int, table: pd.DataFrame) -> None:
    """Draw the actions on the selected runs, and the downloads of the table."""
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button("Open", icon=":material/monitoring:", disabled=len(runs) != 1):
            st.switch_page("run.py", query_params={"run": runs[0].id})
        if guarded_button("Tags and note", icon=":material/label:", disabled=not runs):
            annotate_dialog(runs)
        if guarded_button("Delete", icon=":material/delete:", disabled=not runs):
            confirm_delete(runs)
        st.button(
            "Select all shown",
            on_click=select_runs,
            args=([run.id for run in shown],),
            disabled=not shown,
        )
        st.button("Clear the selection", on_click=select_runs, args=([],), disabled=not runs)
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
                title,
                data,
                f"thaw-runs.{ending}",
                mime,
                icon=":material/download:",
                on_click="ignore",
                disabled=table.empty,
            )
        report_download("report_compare", runs=[run.id for run in runs], disabled=not runs)
        behind = f", {hidden} of them hidden by the filters" if hidden else ""
        st.caption(
            f"{len(runs)} selected{behind}. Select rows with the boxes on the left; click a "
            "column header to sort."
        )
