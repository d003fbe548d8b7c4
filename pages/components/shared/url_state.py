"""The state of the pages in the URL, so that a reload or a shared link shows the same page.

Only this module reads or writes `st.query_params`. Who decides the value of a parameter?

- **The URL**: `get`, `put`, `remove` and `replace` for plain values; `restore_choice` and
  `save_choice` for a widget whose options depend on the data. A link to the page one is on works.
- **A form**, where one parameter stands for many fields or its default depends on the data:
  `read_new` fills the fields once with what comes from outside, and `write` follows the fields.
- **Streamlit**, for a single widget with a fixed default: ``bind=url_state.BOUND``.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import streamlit as st

from pages.components.shared.formatting import escape_inline

BOUND: Final = "query-params"
"""Value of Streamlit's `bind` argument: the widget's key is the parameter, the default stays out.

Not for choices among the data: the first dataset of today is not the default of tomorrow.
"""
MAX_LENGTH = 4000
"""Characters of a form's value that are read; no form here writes more."""
_WRITTEN = "address_written"
"""In the session: by parameter, the values that were written or read before.

The browser may send an outdated value along with an edit; it must not undo that edit.
"""


def get(name: str) -> str | None:
    """Return the value of a parameter, or None if the URL does not have it."""
    return st.query_params.get(name)


def put(name: str, value: str) -> None:
    """Set one parameter; the URL changes only if the value does."""
    if st.query_params.get(name) != value:
        st.query_params[name] = value


def remove(*names: str) -> None:
    """Remove parameters; those that the URL does not have are ignored."""
    for name in names:
        st.query_params.pop(name, None)


def replace(**values: str) -> None:
    """Set these parameters and remove all others, which belonged to what was shown before."""
    st.query_params.from_dict(values)


def restore_choice(
    key: str, options: Sequence[str], ids: Mapping[str, str] | None = None
) -> str | None:
    """Set the state of the widget `key` from ``?key=VALUE`` before it is drawn.

    Without a valid value in the URL, the widget keeps its state, or gets the first option.

    Args:
        ids: options by id, where the URL may name an option by its id instead.

    Returns:
        The value in the URL if it is not among the options, else None.
    """
    value = get(key)
    value = (ids or {}).get(value or "", value)
    if value in options:
        st.session_state[key] = value
    elif st.session_state.get(key) not in options:
        st.session_state[key] = options[0]
    return None if value in options else value


def save_choice(key: str) -> None:
    """Write the state of the widget `key` to the URL; for its `on_change`."""
    put(key, st.session_state[key])


def read_new(name: str) -> str | None:
    """Return the value of a form's parameter if it did not come from this session, else None."""
    text = (get(name) or "")[:MAX_LENGTH]
    if not text or text in _written(name):
        return None
    _written(name).add(text)
    return text


def write(name: str, text: str, default: str = "") -> None:
    """Write the state of a form, or of a part of it; the default stays out of the URL."""
    _written(name).add(text)
    if text == default:
        remove(name)
    else:
        put(name, text)


def warn_ignored(value: str, reason: object) -> None:
    """Warn that a value in the URL is ignored, and why."""
    st.warning(
        f"The URL asks for {escape_inline(repr(value[:64]))}, which is ignored."
        f" {escape_inline(str(reason))}",
        icon=":material/link_off:",
    )


def _written(name: str) -> set[str]:
    return st.session_state.setdefault(_WRITTEN, {}).setdefault(name, set())
