"""What the page itself puts into a field, kept from edits that the browser sends before it has
heard of it.

With every edit a browser says what all fields hold. One made too early still names the old value of
a field that the page has changed meanwhile, and Streamlit takes that for an edit and puts it back:
a launch pressed right after a preset would go out with the settings before it. A hidden field tells
how much the browser had heard when it spoke.
"""

from typing import Any

import streamlit as st

_ACK = "heard"
"""Key of the hidden field: the number of the latest put that the browser knows. assets/ink.css
hides it."""
_SEQUENCE, _CHANGES = "put_number", "puts"
"""In the session: the number of the latest put; by key, each put's number, what the field held
before it, and since."""
_MAX_REMEMBERED = 20
"""Puts remembered per field; a browser is a few behind at most."""


def set_value(key: str, value: Any) -> None:
    """Has the field with this key hold `value`; for callbacks, and for a page before it draws the
    field."""
    state = st.session_state
    if state.setdefault(key, value) == value:
        return
    state[_SEQUENCE] = state.get(_SEQUENCE, 0) + 1
    puts = state.setdefault(_CHANGES, {})
    puts[key] = [*puts.get(key, []), (state[_SEQUENCE], state[key], value)][-_MAX_REMEMBERED:]
    state[key] = value


def reapply_unseen() -> None:
    """Puts in again what an overtaking edit undid: before the fields are drawn, and before a
    callback reads them."""
    state = st.session_state
    heard = state.get(_ACK, state.get(_SEQUENCE, 0))
    for key, puts in state.get(_CHANGES, {}).items():
        if state.get(key) in [before for number, before, _ in puts if number > heard]:
            state[key] = puts[-1][-1]


def render_ack_field() -> None:
    """Draws the hidden field: after all others, so that who has heard of it has heard of them."""
    st.session_state[_ACK] = st.session_state.get(_SEQUENCE, 0)
    st.number_input("Heard", 0, key=_ACK, help="How many of the page's own changes you have seen.")
