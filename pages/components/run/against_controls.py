"""A finished run against its controls, or one click that runs them."""

import streamlit as st

from core.freezing.strategies import STRATEGIES, is_control
from core.jobs.store import Run
from core.program import PROGRAM
from core.runs.run_controls import RunControls, find_controls, submit_controls
from pages.components.shared.access import guarded_button
from pages.components.shared.common import workspace
from pages.components.shared.errors import catch_errors
from pages.components.shared.recommendation import recommendation_card


def against_controls(run: Run) -> None:
    """Draw the recommendation among the run's arm and its controls; nothing for other runs."""
    if run.kind != "finetune" or is_control(run.strategy):
        return
    with catch_errors():
        found = find_controls(workspace(), run)
        if len(found.arms) > 1:
            mark = f" :gray[· this run's arm and {_count(len(found.arms) - 1)}]"
            recommendation_card(
                found.arms, "run", mark, selected=True, actions=lambda _: _offer(run, found)
            )
        else:
            with st.container(border=True):
                st.markdown(
                    "**Recommendation** :gray[· none yet]  \nWithout controls nothing says whether "
                    "this run was worth its training: none of the same dataset, backbone, target "
                    "rows and seeds is done."
                )
                _offer(run, found)


def _offer(run: Run, found: RunControls) -> None:
    """Draw the button that runs the missing controls."""
    if found.active:
        st.caption(f"{_count(len(found.active))} queued or running; reload to see the results.")
    if not found.missing:
        return
    titles = ", ".join(STRATEGIES[name].title.lower() for name in found.missing)
    label = "Run the missing controls" if len(found.arms) > 1 else "Run its controls"
    if guarded_button(
        label,
        icon=":material/add:",
        key="run_controls",
        help=f"Queues {titles}, with this run's settings and seeds. The same on the command line: "
        f"`{PROGRAM} controls --run {run.id} --add`",
    ):
        submit_controls(workspace(), run, found.missing)
        st.rerun()


def _count(number: int) -> str:
    return f"{number} control{'s' * (number != 1)}"
