"""Fields that the page itself puts another value into: they take it under a new key.

A browser says with every edit what all fields hold. An edit made before it heard of the page's value still carries the
old one, which Streamlit would take for an edit of that field and put back. Under an old key it changes nothing.
"""

from typing import Any

import streamlit as st

_TIMES = "renewed"
"""In the session: how often each field was given another value."""


def key_of(name: str) -> str:
    """The key of the field at present."""
    times = st.session_state.get(_TIMES, {}).get(name, 0)
    return f"{name}~{times}" if times else name


def value_of(name: str) -> Any:
    """What the field holds; None where it was never drawn."""
    return st.session_state.get(key_of(name))


def put(name: str, value: Any) -> None:
    """Has the field hold `value` from now on."""
    state = st.session_state
    if key_of(name) in state:
        if value_of(name) == value:
            return
        times = state.setdefault(_TIMES, {})
        times[name] = times.get(name, 0) + 1
    state[key_of(name)] = value
