"""The tour from page to page, offered once per workspace and repeatable from Learn."""

from dataclasses import dataclass

import streamlit as st

from core.read_only import is_read_only
from core.workspace import write_json
from pages.components.shared.access import PRESENTER_KEY
from pages.components.shared.common import workspace

STEP_KEY = "tour_step"
SEEN_FILE = "tour.json"


@dataclass(frozen=True)
class Stop:
    """A page of the tour and what to look at there."""

    page: str
    title: str
    text: str


STOPS = (
    Stop(
        "data.py",
        "Data",
        "Add a Criteo sample, or simulate one, and split it into source and target domain.",
    ),
    Stop(
        "backbones.py",
        "Backbones",
        "Pretrained networks, drawn stage by stage from the input up.",
    ),
    Stop(
        "finetune.py",
        "Fine-tune",
        "Move the freeze line: stages below it are frozen, stages above it train. Then launch.",
    ),
    Stop(
        "sweep.py",
        "Sweep",
        "Several strategies and seeds at once, with a verdict in words as results come in.",
    ),
    Stop(
        "run.py",
        "Run",
        "Watch the loss, then read the metrics at one threshold, the weight drift and the "
        "forgetting.",
    ),
    Stop("score.py", "Score", "Score a new file with a finished run: predictions and drift."),
    Stop(
        "compare.py",
        "Compare",
        "Finished runs side by side, with intervals instead of a ranking of noise.",
    ),
    Stop(
        "learn.py",
        "Learn",
        "The method in four figures from your own run, a glossary, and this tour.",
    ),
)


def show_tour(page: str) -> None:
    """Draw the tour's card on top of `page` (its file name), if the tour is there."""
    step = st.session_state.get(STEP_KEY)
    if st.session_state.get(PRESENTER_KEY):
        return
    if step is not None and 0 <= step < len(STOPS) and STOPS[step].page == page:
        _show_stop(step)
    elif step is None and page == "home.py" and not (workspace().root / SEEN_FILE).exists():
        _show_welcome()


def tour_button() -> None:
    """Draw the button that starts the tour again."""
    if st.button(
        "Take the tour",
        icon=":material/tour:",
        help=f"{len(STOPS)} stops, one per page. It changes nothing.",
    ):
        _go_to(0)


def _show_welcome() -> None:
    with st.container(border=True, key="tour", horizontal=True, vertical_alignment="center"):
        words = (
            f"**New here?** A tour of {len(STOPS)} stops shows what each page is for. It takes a"
            " minute."
        )
        st.markdown(words, width="content")
        if st.button("Take the tour", key="tour_start", icon=":material/tour:"):
            _go_to(0)
        st.button("No, thanks", key="tour_skip", type="tertiary", on_click=_end)


def _show_stop(step: int) -> None:
    stop = STOPS[step]
    with st.container(border=True, key="tour", horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{step + 1} of {len(STOPS)} · {stop.title}.** {stop.text}", width="stretch")
        if step and st.button("Back", key="tour_back", icon=":material/arrow_back:"):
            _go_to(step - 1)
        if step + 1 < len(STOPS):
            if st.button("Next", key="tour_next", icon=":material/arrow_forward:"):
                _go_to(step + 1)
            st.button("End the tour", key="tour_end", type="tertiary", on_click=_end)
        elif st.button("Done", key="tour_done", icon=":material/check:"):
            _end()
            st.switch_page("home.py")


def _go_to(step: int) -> None:
    st.session_state[STEP_KEY] = step
    st.switch_page(STOPS[step].page)


def _end() -> None:
    """End the tour.

    This is remembered in the workspace, or only in the session if nothing may be changed.
    """
    st.session_state[STEP_KEY] = len(STOPS)
    if not is_read_only():
        write_json(workspace().root / SEEN_FILE, {"seen": True})
