"""Read-only instances and presenter mode: buttons that change something are disabled there."""

from typing import Any

import streamlit as st

from core.read_only import READ_ONLY_MESSAGE, is_read_only
from pages.components.shared import url_state

PRESENTER_KEY = "present"
PRESENTER_SENTENCE = "Presenter mode: large type; nothing can be changed or launched."
_LARGE_TYPE = """<style>
html { font-size: 20px !important; }
[data-testid="stButton"]:has(button:disabled),
[data-testid="stFormSubmitButton"]:has(button:disabled),
[data-testid="stFileUploader"] { display: none; }
</style>"""


def lock_reason() -> str:
    """Return why nothing may be changed in this session.

    The string is empty where changes are allowed.
    """
    if is_read_only():
        return READ_ONLY_MESSAGE
    return PRESENTER_SENTENCE if st.session_state.get(PRESENTER_KEY) else ""


def guarded_button(label: str, **settings: Any) -> bool:
    """Draw `st.button` for an action that changes or launches something.

    Where changes are not allowed, the button is disabled and its help text says why.
    """
    return st.button(label, **_disable_if_locked(settings))


def guarded_form_button(label: str, **settings: Any) -> bool:
    """Draw `st.form_submit_button` with the same rule as `guarded_button`."""
    return st.form_submit_button(label, **_disable_if_locked(settings))


def _disable_if_locked(settings: dict[str, Any]) -> dict[str, Any]:
    reason = lock_reason()
    return {**settings, "disabled": True, "help": reason} if reason else settings


def sync_presenter_mode() -> None:
    """Read presenter mode from ``?present=1`` or ``?present=0`` in the URL.

    While presenter mode is on, the parameter stays in the URL, so that a refresh does not end a
    presentation.
    """
    in_url = url_state.get(PRESENTER_KEY)
    if in_url is not None:
        st.session_state[PRESENTER_KEY] = in_url == "1"
    if st.session_state.get(PRESENTER_KEY):
        url_state.put(PRESENTER_KEY, "1")
    else:
        url_state.remove(PRESENTER_KEY)


def show_access_notice() -> None:
    """Show one line at the top of the page if nothing may be changed.

    Presenter mode also enlarges the type.
    """
    if st.session_state.get(PRESENTER_KEY):
        st.html(_LARGE_TYPE)
        with st.container(horizontal=True, vertical_alignment="center"):
            st.badge("Presenting", icon=":material/co_present:", color="blue")
            st.page_link(
                "home.py", label="Leave", icon=":material/close:", query_params={PRESENTER_KEY: "0"}
            )
    elif is_read_only():
        st.caption(f":material/visibility: {READ_ONLY_MESSAGE}")
