"""Compare: every run in a table, the chosen ones side by side as arms, with intervals instead of
rankings of noise."""

import pandas as pd
import streamlit as st

from core.errors import ThawError
from core.jobs.store import Run, RunStore
from core.report.run_tables import arm_frame, run_frame
from core.runs.launch import refresh_statuses
from core.runs.sweep import list_sweeps
from pages.components.compare.run_actions import selection_round, show_run_actions
from pages.components.compare.run_table import ROW_MODES, filter_runs, run_table
from pages.components.compare.side_by_side import side_by_side
from pages.components.shared.common import escape_inline, show_error, workspace
from pages.components.shared.no_runs import show_no_runs

NO_RUNS = (
    "No runs yet. Launch one on **Fine-tune**, or run the demo from **Home**; they appear here as"
    " they come."
)


def chosen_in_address(runs: list[Run]) -> list[str]:
    """Runs that the address names; without any word of them there, the finished runs launched
    together last."""
    if "runs" not in st.query_params:
        newest = next((run.group for run in runs if run.group and run.status == "done"), None)
        return [run.id for run in runs if newest and run.group == newest and run.status == "done"]
    known = {run.id for run in runs}
    named = [*dict.fromkeys(filter(None, st.query_params["runs"].split(",")))]
    if unknown := [run_id for run_id in named if run_id not in known]:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        st.warning(
            f"The address names {escape_inline(repr(unknown[0][:40]))}{more}, which is no run here; it is"
            " left out."
        )
    return [run_id for run_id in named if run_id in known]


st.title("Compare")
st.markdown(
    "Tick runs; runs alike but for their seeds are one arm, and arms are held against one of them."
)
try:
    store = RunStore(workspace())
    refresh_statuses(workspace(), store)
    every = store.list()
    if not every:
        show_no_runs(NO_RUNS)
        st.stop()
    sweeps = {sweep.id: sweep.name for sweep in list_sweeps(workspace())}
    filtered = filter_runs(every, sweeps)
    before = chosen_in_address(every)
    by_arm = (
        st.segmented_control(
            "Rows", [*ROW_MODES], format_func=ROW_MODES.__getitem__, default="run", required=True, key="rows",
            bind="query-params", label_visibility="collapsed",
        help="A row for every run, or one for an arm: runs alike but for their seeds. It changes no result.",)
        == "arm"
    )  # fmt: skip
    table, ticked = pd.DataFrame(), []
    if filtered:
        table = run_frame(workspace(), filtered, store.validation_summaries(filtered), sweeps)
        of_rows: list[tuple[str, ...]] = [(run.id,) for run in filtered]
        if by_arm:
            of_rows, table = arm_frame(workspace(), filtered, table)
        ticked = run_table(of_rows, table, before, selection_round())
    else:
        st.info("No run passes the filters; take some off.", icon=":material/filter_alt:")
    # What is chosen stays chosen behind a filter: one looks for the next run to choose.
    shown = {run.id for run in filtered}
    hidden = [run_id for run_id in before if run_id not in shown]
    kept = {*ticked, *hidden}
    chosen = [run for run in every if run.id in kept]
    st.query_params["runs"] = ",".join(run.id for run in chosen)
    show_run_actions(chosen, filtered, len(hidden), table)
    side_by_side(chosen)
except ThawError as error:
    show_error(error)
