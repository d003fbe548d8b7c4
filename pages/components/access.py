"""What a visitor or an audience may not do: buttons that change something, when nothing may be
changed."""

from typing import Any

import streamlit as st

from core.access import SENTENCE, read_only

PRESENT = "present"
PRESENTING = "Presenter mode: large type, and nothing on the pages can be changed or launched."
_LARGE = """<style>
html { font-size: 20px !important; }
[data-testid="stButton"]:has(button:disabled), [data-testid="stFormSubmitButton"]:has(button:disabled),
[data-testid="stFileUploader"] { display: none; }
</style>"""


def locked() -> str:
    """Why nothing may be changed in this session; empty when it may."""
    if read_only():
        return SENTENCE
    return PRESENTING if st.session_state.get(PRESENT) else ""


def write_button(label: str, **settings: Any) -> bool:
    """st.button for what changes or launches something: where that may not be, it is disabled and
    says why."""
    return st.button(label, **_guarded(settings))


def write_form_button(label: str, **settings: Any) -> bool:
    """st.form_submit_button, as `write_button`."""
    return st.form_submit_button(label, **_guarded(settings))


def _guarded(settings: dict[str, Any]) -> dict[str, Any]:
    reason = locked()
    return {**settings, "disabled": True, "help": reason} if reason else settings


def follow_present() -> None:
    """Takes ?present=1 or 0 from the address, and keeps it there while it lasts: a refresh must not
    end a talk."""
    asked = st.query_params.get(PRESENT)
    if asked is not None:
        st.session_state[PRESENT] = asked == "1"
    if st.session_state.get(PRESENT):
        st.query_params[PRESENT] = "1"
    elif asked is not None:
        del st.query_params[PRESENT]


def notice() -> None:
    """One line on top of the page where nothing may be changed; large type for an audience."""
    if st.session_state.get(PRESENT):
        st.html(_LARGE)
        with st.container(horizontal=True, vertical_alignment="center"):
            st.badge("Presenting", icon=":material/co_present:", color="blue")
            st.page_link(
                "home.py", label="Leave", icon=":material/close:", query_params={PRESENT: "0"}
            )
    elif read_only():
        st.caption(f":material/visibility: {SENTENCE}")
