"""What a visitor or an audience may not do: buttons that change something, when nothing may be
changed."""

from typing import Any

import streamlit as st

from core.read_only import READ_ONLY_MESSAGE, is_read_only

PRESENTER_KEY = "present"
PRESENTER_SENTENCE = (
    "Presenter mode: large type, and nothing on the pages can be changed or launched."
)
_LARGE_TYPE = """<style>
html { font-size: 20px !important; }
[data-testid="stButton"]:has(button:disabled), [data-testid="stFormSubmitButton"]:has(button:disabled),
[data-testid="stFileUploader"] { display: none; }
</style>"""


def lock_reason() -> str:
    """Why nothing may be changed in this session; empty when it may."""
    if is_read_only():
        return READ_ONLY_MESSAGE
    return PRESENTER_SENTENCE if st.session_state.get(PRESENTER_KEY) else ""


def guarded_button(label: str, **settings: Any) -> bool:
    """st.button for what changes or launches something: where that may not be, it is disabled and
    says why."""
    return st.button(label, **_disable_if_locked(settings))


def guarded_form_button(label: str, **settings: Any) -> bool:
    """st.form_submit_button, as `guarded_button`."""
    return st.form_submit_button(label, **_disable_if_locked(settings))


def _disable_if_locked(settings: dict[str, Any]) -> dict[str, Any]:
    reason = lock_reason()
    return {**settings, "disabled": True, "help": reason} if reason else settings


def sync_presenter_mode() -> None:
    """Takes ?present=1 or 0 from the address, and keeps it there while it lasts: a refresh must not
    end a talk."""
    asked = st.query_params.get(PRESENTER_KEY)
    if asked is not None:
        st.session_state[PRESENTER_KEY] = asked == "1"
    if st.session_state.get(PRESENTER_KEY):
        st.query_params[PRESENTER_KEY] = "1"
    elif asked is not None:
        del st.query_params[PRESENTER_KEY]


def show_access_notice() -> None:
    """One line on top of the page where nothing may be changed; large type for an audience."""
    if st.session_state.get(PRESENTER_KEY):
        st.html(_LARGE_TYPE)
        with st.container(horizontal=True, vertical_alignment="center"):
            st.badge("Presenting", icon=":material/co_present:", color="blue")
            st.page_link(
                "home.py", label="Leave", icon=":material/close:", query_params={PRESENTER_KEY: "0"}
            )
    elif is_read_only():
        st.caption(f":material/visibility: {READ_ONLY_MESSAGE}")
