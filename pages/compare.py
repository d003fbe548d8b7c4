"""Compare page: a table of all runs, and the selected ones compared as arms.

Differences are shown with intervals, because a ranking would mostly show noise.
"""

import pandas as pd
import streamlit as st

from core.errors import ThawError
from core.jobs.store import Run, RunStore
from core.report.run_tables import arm_frame, run_frame
from core.runs.launch import refresh_statuses
from core.runs.sweep import list_sweeps
from core.runs.sweep_result import summarise_arms
from pages.components.compare.blend_runs import blend_section
from pages.components.compare.run_actions import selection_round, show_run_actions
from pages.components.compare.run_table import ROW_MODES, filter_runs, run_table
from pages.components.compare.side_by_side import side_by_side
from pages.components.shared import url_state
from pages.components.shared.common import workspace
from pages.components.shared.errors import show_error
from pages.components.shared.formatting import escape_inline
from pages.components.shared.no_runs import show_no_runs

NO_RUNS = (
    "No runs yet. Launch one on **Fine-tune**, or run the demo from **Home**; they appear here as"
    " they come."
)


def runs_in_url(runs: list[Run]) -> list[str]:
    """Return the run ids in the URL.

    Without that parameter, return the finished runs of the newest launch.
    """
    if (in_url := url_state.get("runs")) is None:
        return _runs_of_newest_launch(runs)
    known = {run.id for run in runs}
    run_ids = [*dict.fromkeys(filter(None, in_url.split(",")))]
    if unknown := [run_id for run_id in run_ids if run_id not in known]:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        st.warning(
            f"The URL names {escape_inline(repr(unknown[0][:40]))}{more}, which is not a run "
            "in this workspace; it is ignored."
        )
    return [run_id for run_id in run_ids if run_id in known]


def _runs_of_newest_launch(runs: list[Run]) -> list[str]:
    """Return the ids of its finished runs, of each arm those at the rate that was chosen for it."""
    newest = next((run.group for run in runs if run.group and run.status == "done"), None)
    launched = [run for run in runs if newest and run.group == newest]
    sweep = next((one for one in list_sweeps(workspace()) if one.id == newest), None)
    if sweep and sweep.spec.choose_rate:
        chosen = {run.id for arm in summarise_arms(sweep, launched) for run in arm.runs}
        launched = [run for run in launched if run.id in chosen]
    return [run.id for run in launched if run.status == "done"]


st.title("Compare")
st.markdown("Select runs to compare. Runs that differ only by seed are grouped into one arm.")
try:
    store = RunStore(workspace())
    refresh_statuses(workspace(), store)
    all_runs = store.list()
    if not all_runs:
        show_no_runs(NO_RUNS)
        st.stop()
    sweeps = {sweep.id: sweep.name for sweep in list_sweeps(workspace())}
    filtered = filter_runs(all_runs, sweeps)
    selected_before = runs_in_url(all_runs)
    by_arm = (
        st.segmented_control(
            "Rows",
            [*ROW_MODES],
            format_func=ROW_MODES.__getitem__,
            default="run",
            required=True,
            key="rows",
            bind=url_state.BOUND,
            label_visibility="collapsed",
            help="One row per run, or one per arm: the runs that differ only by seed. It changes "
            "no result.",
        )
        == "arm"
    )
    table, selected = pd.DataFrame(), []
    if filtered:
        table = run_frame(workspace(), filtered, store.validation_summaries(filtered), sweeps)
        row_ids: list[tuple[str, ...]] = [(run.id,) for run in filtered]
        if by_arm:
            row_ids, table = arm_frame(workspace(), filtered, table)
        selected = run_table(row_ids, table, selected_before, selection_round())
    else:
        st.info("No run matches the filters; remove some.", icon=":material/filter_alt:")
    # Runs stay selected when a filter hides them: users filter to find the next run to select.
    shown = {run.id for run in filtered}
    hidden = [run_id for run_id in selected_before if run_id not in shown]
    selected_ids = {*selected, *hidden}
    chosen = [run for run in all_runs if run.id in selected_ids]
    url_state.put("runs", ",".join(run.id for run in chosen))
    show_run_actions(chosen, filtered, len(hidden), table)
    blend_section(chosen)
    side_by_side(chosen)
except ThawError as error:
    show_error(error)
