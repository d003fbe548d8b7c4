"""The popover of page Sweep that blends arms, one blend for every seed."""

import shlex
from collections.abc import Sequence

import streamlit as st

from core.jobs.store import Run
from core.program import PROGRAM
from core.runs.blends import blend_arms
from core.runs.sweep import Sweep, arm_title
from pages.components.shared.access import guarded_button
from pages.components.shared.common import show_open_commands, workspace
from pages.components.shared.errors import catch_errors

HELP = "Two arms or more, each at its chosen learning rate."
DEFAULT = "the leading network and gradient boosting"
"""What is blended where no arm is chosen, see `core.runs.blends.blend_arms`."""


def blend_popover(sweep: Sweep, runs: Sequence[Run]) -> None:
    """Draw the popover; the blends become a further arm of the sweep."""
    titles = [
        *dict.fromkeys(
            arm_title(run) for run in runs if run.status == "done" and run.kind != "blend"
        )
    ]
    with st.popover("Blend arms", icon=":material/blender:", disabled=len(titles) < 2):
        chosen = st.multiselect(
            "Arms to blend", titles, key="sweep_blend", placeholder=DEFAULT, help=HELP
        )
        st.caption(
            "For every seed, the mean of the arms' logits, with weights that have the lowest log "
            "loss on validation rows. The blends become a further arm."
        )
        if guarded_button("Blend them", type="primary", key="sweep_blend_button"):
            with catch_errors():
                blend_arms(workspace(), sweep, chosen)
                st.rerun()
        words = "".join(f" --arm {shlex.quote(title)}" for title in chosen)
        show_open_commands(f"{PROGRAM} blend --sweep {sweep.id}{words}")
