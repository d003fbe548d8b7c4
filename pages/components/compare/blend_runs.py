"""The button of Compare that blends the selected runs, and the wait for the blend."""

from collections.abc import Sequence

import streamlit as st

from core.jobs.store import Run, RunStore
from core.program import PROGRAM
from core.runs.blends import submit_blend
from core.runs.launch import refresh_statuses
from pages.components.compare.run_actions import MAX_NAMED, select_runs
from pages.components.shared.access import guarded_button
from pages.components.shared.common import show_command, workspace
from pages.components.shared.errors import catch_errors, catch_errors_in
from pages.components.shared.formatting import escape_inline

ABOUT = (
    "The mean of the selected runs' logits, weighted to have the lowest log loss on validation "
    "rows; the blend is a run of its own. The runs need the same dataset and validation rows."
)


def blend_section(runs: Sequence[Run]) -> None:
    """Draw the button for the selected runs, and wait for blends among them that are active."""
    for blend in (run for run in runs if run.kind == "blend"):
        if blend.active:
            st.fragment(catch_errors_in(_wait), run_every=1.0)(blend.id)
        elif blend.message:
            st.error(escape_inline(blend.message))
    members = [run for run in runs if run.kind != "blend"]
    if guarded_button(
        "Blend selected runs", icon=":material/blender:", disabled=len(members) < 2, help=ABOUT
    ):
        with catch_errors():
            blend = submit_blend(workspace(), [run.id for run in members])
            select_runs(list(dict.fromkeys([*(run.id for run in runs), blend.id])))
            st.rerun()
    if 2 <= len(members) <= MAX_NAMED:
        show_command(f"{PROGRAM} blend {' '.join(run.id for run in members)}")


def _wait(run_id: str) -> None:
    store = RunStore(workspace())
    refresh_statuses(workspace(), store)
    if not store.get(run_id).active:
        st.rerun()
    st.progress(0.0, text="The blend waits for the worker")
