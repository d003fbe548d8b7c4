"""A form's state in the address, so that a reload or a shared link shows the same form.

What the address brings from outside fills the fields once; after that the fields decide and write
the address. Streamlit's own binding serves single widgets with a fixed default; here one value
stands for many fields, or a default hangs on the data.
"""

import streamlit as st

from pages.components.shared.common import escape_inline

MAX_LENGTH = 4000
"""Letters of a value that are read; longer ones come from no form here."""
_WRITTEN = "address_written"
"""In the session: by name, what was written or read before. The browser may still send an old value
with an edit that overtook the new one, and that must not take the edit back."""


def read_new(name: str) -> str | None:
    """What the address says under `name`, where that did not come from this session; else None."""
    text = st.query_params.get(name, "")[:MAX_LENGTH]
    if not text or text in _written(name):
        return None
    _written(name).add(text)
    return text


def write(name: str, text: str, default: str = "") -> None:
    """Writes the state of a form, or of a part of it, into the address; the default is left out of
    it."""
    _written(name).add(text)
    if text == default:
        st.query_params.pop(name, None)
    elif st.query_params.get(name) != text:
        st.query_params[name] = text


def warn_ignored(what: str, why: object) -> None:
    """Says that a part of the address is not followed."""
    asked = escape_inline(repr(what[:64]))
    st.warning(
        f"The address asks for {asked}, which is left out. {escape_inline(str(why))}",
        icon=":material/link_off:",
    )


def _written(name: str) -> set[str]:
    return st.session_state.setdefault(_WRITTEN, {}).setdefault(name, set())
