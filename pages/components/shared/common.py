"""Small things that every page needs: the workspace, badges, the equivalent command."""

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from core.workspace import Workspace, open_workspace
from pages.components.shared.formatting import escape_markdown

NAME_HELP = "The name in lists and commands. It changes no result."
"""Help of every field for the name of something new."""
SIMULATED = ":violet-badge[:material/science: simulated]"
"""Markdown badge for anything simulated, next to its name."""

STATUS_BADGES = {
    "queued": (":material/schedule:", "gray"),
    "running": (":material/play_circle:", "blue"),
    "done": (":material/check_circle:", "green"),
    "failed": (":material/error:", "red"),
    "cancelled": (":material/cancel:", "gray"),
    "interrupted": (":material/pause_circle:", "orange"),
}


@st.cache_resource(max_entries=1)
def workspace() -> Workspace:
    """Return the workspace of this server: $THAW_HOME, else ./workspace."""
    return open_workspace()


def show_missing_metrics(sentences: Sequence[str]) -> None:
    """Say below figures and tables which metrics are missing and why; nothing if none are."""
    if sentences:
        st.caption(escape_markdown(" ".join(sentences)))


def number_column_config(row: Mapping[str, object]) -> dict[str, Any]:
    """Return column formats for the numeric columns of a table.

    Integers get separators and others four decimals.

    Args:
        row: one row of the table, from which the types are taken.
    """
    return {
        name: st.column_config.NumberColumn(
            format="localized" if isinstance(value, int) else "%.4f"
        )
        for name, value in row.items()
    }


def show_command(command: str) -> None:
    """Show, collapsed, the command line that does the same as the page's button."""
    with st.expander("The same on the command line", icon=":material/terminal:"):
        # No language: the colours of syntax highlighting are too pale on a light page.
        st.code(command, language=None, wrap_lines=True)


def show_open_commands(*commands: str) -> None:
    """Show the equivalent command lines without an expander.

    This is for popovers and dialogs, which are too small for one.
    """
    st.caption("The same on the command line")
    st.code("\n".join(commands), language=None, wrap_lines=True)


def simulated_badge() -> None:
    """Draw the badge "simulated"; nothing simulated is ever shown without it."""
    st.badge("simulated", icon=":material/science:", color="violet")


def status_markdown(status: str) -> str:
    """Return a run's status as an inline badge.

    An example is ":green-badge[:material/check_circle: done]".
    """
    icon, color = STATUS_BADGES[status]
    return f":{color}-badge[{icon} {status}]"
