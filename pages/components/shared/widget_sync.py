"""Set widget values from the server without losing them to stale client updates.

Streamlit sends the state of all widgets with every interaction. If the user edits field A while the
server has just changed field B (a preset, a dragged freeze line), the browser's message still
carries B's old value and would undo the change: a run launched right after choosing a preset would
start with the settings before it. Each change by the server therefore gets a sequence number; the
client returns the last one it has rendered in a hidden field, and changes it had not yet seen are
applied again.
"""

from typing import Any

import streamlit as st

_ACK = "acknowledged"
"""Key of the hidden field: the last change that the client has rendered. assets/overrides.css hides
it."""
_SEQUENCE, _CHANGES = "change_number", "changes"
"""In the session: the number of the last change; by widget key, (number, old value, new value) of
each."""
_MAX_REMEMBERED = 20
"""Changes remembered per field; a client is a few behind at most."""


def set_value(key: str, value: Any) -> None:
    """Set the widget `key` to `value`.

    Call it in callbacks, and in the script before it draws the widget.
    """
    state = st.session_state
    if state.setdefault(key, value) == value:
        return
    state[_SEQUENCE] = state.get(_SEQUENCE, 0) + 1
    changes = state.setdefault(_CHANGES, {})
    changes[key] = [*changes.get(key, []), (state[_SEQUENCE], state[key], value)][-_MAX_REMEMBERED:]
    state[key] = value


def reapply_unseen() -> None:
    """Apply changes again that a stale message has undone.

    Call it before the fields are drawn, and in callbacks before they read fields.
    """
    state = st.session_state
    acknowledged = state.get(_ACK, state.get(_SEQUENCE, 0))
    for key, changes in state.get(_CHANGES, {}).items():
        if state.get(key) in [before for number, before, _ in changes if number > acknowledged]:
            state[key] = changes[-1][-1]


def render_ack_field() -> None:
    """Draw the hidden field that acknowledges the last change.

    It must be drawn after all other fields, so that a client that has rendered it has rendered them
    too.
    """
    st.session_state[_ACK] = st.session_state.get(_SEQUENCE, 0)
    st.number_input(
        "Acknowledged", 0, key=_ACK, help="How many of the page's own changes you have seen."
    )
