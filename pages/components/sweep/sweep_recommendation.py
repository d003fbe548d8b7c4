"""The recommendation of a sweep, and one click that adds the seeds which would settle it."""

from collections.abc import Callable, Sequence

import streamlit as st

from core.evaluation.recommendation import Recommendation
from core.jobs.store import Run
from core.program import PROGRAM
from core.runs.launch import CLUSTER_QUEUE
from core.runs.sweep import Sweep, extend_sweep
from core.runs.sweep_result import ArmResult
from pages.components.shared.access import guarded_button
from pages.components.shared.common import workspace
from pages.components.shared.errors import catch_errors
from pages.components.shared.recommendation import recommendation_card


def sweep_recommendation(sweep: Sweep, runs: Sequence[Run], results: Sequence[ArmResult]) -> None:
    """Draw the recommendation; nothing before the first run is done."""
    if not results:
        return
    n_active, n_done = sum(run.active for run in runs), sum(run.status == "done" for run in runs)
    mark = (
        f" :orange-badge[:material/hourglass_top: provisional: {n_done} of {len(runs)} runs done]"
        if n_active
        else ""
    )
    recommendation_card(results, "sweep", mark, actions=_actions(sweep, runs))


def seeds_that_settle(found: Sequence[Recommendation]) -> int:
    """Return the most seeds that one of the settings needs; 0 where none would settle any."""
    return max((one.power.more_seeds or 0 for one in found if one.power), default=0)


def _actions(sweep: Sweep, runs: Sequence[Run]) -> Callable[[Sequence[Recommendation]], None]:
    def draw(found: Sequence[Recommendation]) -> None:
        seeds = seeds_that_settle(found)
        waits = any(run.active for run in runs) or any(run.queue == CLUSTER_QUEUE for run in runs)
        if seeds and not waits:
            _seeds_button(sweep, seeds)

    return draw


def _seeds_button(sweep: Sweep, seeds: int) -> None:
    command = f"{PROGRAM} sweep --name {sweep.id} --more-seeds {seeds}"
    if guarded_button(
        f"Add {seeds} seed{'s' * (seeds != 1)} to this sweep",
        icon=":material/add:",
        key="sweep_settle",
        help=(
            "Every arm runs once more for each new seed; finished runs are not repeated. The same "
            f"on the command line: `{command}`"
        ),
    ):
        with catch_errors():
            extend_sweep(workspace(), sweep, seeds)
            st.rerun()
