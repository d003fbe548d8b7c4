"""Choosing one of the things that are there, with the choice in the address.

Widgets bound to the address by Streamlit leave out a value that is the default, yet the first
dataset of today is not tomorrow's first; and a link to the page one is on does not reach them. So
here the address decides, and a choice is written to it before the page runs again.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

import streamlit as st

from pages.components.shared.common import escape_inline


class Named(Protocol):
    """A dataset or a backbone."""

    @property
    def id(self) -> str: ...

    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=Named)

HELP = {
    "Dataset": (
        "Whose rows are used, split as they were prepared. Results on other datasets stand on other"
        " rows."
    ),
    "Backbone": (
        "The network whose stages are frozen or trained: what it learnt is what can be kept."
    ),
}


def restore_widget(
    key: str, options: Sequence[str], ids: Mapping[str, str] | None = None
) -> str | None:
    """Sets the state of the widget `key` to ?key=VALUE, or to the first option where it has none
    that fits.

    ids: options by an id that the address may carry instead. Returns what the address asked for
    when nothing fits it.
    """
    asked = st.query_params.get(key)
    asked = (ids or {}).get(asked or "", asked)
    if asked in options:
        st.session_state[key] = asked
    elif st.session_state.get(key) not in options:
        st.session_state[key] = options[0]
    return None if asked in options else asked


def save_widget(key: str) -> None:
    """Writes the state of the widget `key` into the address: its on_change."""
    st.query_params[key] = st.session_state[key]


def choose_text(label: str, options: Sequence[str], key: str, help_text: str) -> str:
    """A select box over `options`, the first at the beginning; the address carries ?key=OPTION."""
    restore_widget(key, options)
    return st.selectbox(label, options, key=key, on_change=save_widget, args=(key,), help=help_text)


def choose_named(label: str, things: Sequence[N], key: str) -> N:
    """A select box over the names of `things`, of which there is at least one; the address carries
    ?key=NAME or its id.

    An address that names nothing here gets a sentence and the choice before it, else the first of
    `things`.
    """
    by_name: dict[str, N] = {}
    for thing in things:
        by_name[f"{thing.name} ({thing.id})" if thing.name in by_name else thing.name] = thing
    unknown = restore_widget(key, [*by_name], {thing.id: name for name, thing in by_name.items()})
    if unknown is not None:
        st.warning(
            f"There is no {label.lower()} {escape_inline(repr(unknown[:64]))} here; showing"
            f" {st.session_state[key]!r}."
        )
    name = st.selectbox(
        label,
        [*by_name],
        key=key,
        on_change=save_widget,
        args=(key,),
        persist_state="session",
        help=HELP[label],
    )
    return by_name[name]
