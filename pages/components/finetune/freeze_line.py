"""The freeze line in the drawing of the stack.

Dragging it, or clicking a stage, moves the slider.
"""

import streamlit as st

from core.freezing.plan import Plan
from core.workspace import PROJECT
from pages.components.shared.stack import ICONS, draw_plan
from pages.components.shared.widget_sync import set_value

DEPTH_KEY = "depth"
"""Widget key of the slider that the line follows and moves."""
_LINE = st.components.v2.component(
    "thaw_freeze_line",
    html="<span></span>",
    js=(PROJECT / "assets" / "freeze_line.js").read_text(encoding="utf-8"),
    # The picture is outside of this component, where a shadow root could not reach it.
    isolate_styles=False,
)


def draggable_stack(plan: Plan) -> None:
    """Draw a plan of the strategy "depth" with a draggable line.

    Keyboard and screen reader users have the slider instead.
    """
    with st.container(key="freeze_line"):
        draw_plan(plan, draggable=True)
        _LINE(
            data={"depth": plan.frozen_depth, "icons": ICONS},
            key="line",
            height="content",
            on_depth_change=_on_line_moved,
        )


def _on_line_moved() -> None:
    set_value(DEPTH_KEY, st.session_state["line"].depth)
