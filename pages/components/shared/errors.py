"""Errors as sentences on the page: catching them, and notices about the disk and about damage."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import wraps
from typing import ParamSpec

import streamlit as st

from core.errors import ThawError, explain_disk_problem, explain_system_error
from core.runs.damage import find_damaged
from core.workspace import require_workspace_folder
from pages.components.shared.common import workspace
from pages.components.shared.formatting import escape_inline

P = ParamSpec("P")

MAX_DAMAGE_SENTENCES = 50
"""Maximum number of sentences about damage."""


def show_error(error: ThawError) -> None:
    """Show an error's sentence at this place of the page."""
    st.error(escape_inline(str(error)), icon=":material/error:")


def show_disk_notice() -> None:
    """Say that the disk is full or read-only.

    This is for pages that work without writing; others fail with that error.
    """
    # If there is no workspace at all, the page has already shown that error.
    with suppress(ThawError):
        if sentence := explain_disk_problem(workspace().root):
            show_error(ThawError(sentence))


def show_damage_notice(shown: Sequence[str] = ()) -> None:
    """Show, collapsed, what in the workspace is damaged and so missing from lists.

    Args:
        shown: sentences that the page has already shown.
    """
    try:
        require_workspace_folder(workspace())
        sentences = [str(error) for error in find_damaged(workspace()) if str(error) not in shown]
    except Exception as error:
        # If the whole workspace cannot be read, the page itself shows that error.
        if error_sentence(error) is None:
            raise
        return
    if not sentences:
        return
    title = (
        "1 thing in this workspace is damaged"
        if len(sentences) == 1
        else f"{len(sentences)} things are damaged"
    )
    with st.expander(
        f"{title}, and left out of what is shown", icon=":material/warning:", key="damaged"
    ):
        st.warning(
            "\n".join(
                f"- {escape_inline(sentence)}" for sentence in sentences[:MAX_DAMAGE_SENTENCES]
            )
        )
        if len(sentences) > MAX_DAMAGE_SENTENCES:
            st.caption(f"and {len(sentences) - MAX_DAMAGE_SENTENCES:,} more")


def error_sentence(error: BaseException) -> str | None:
    """Return the sentence for an error.

    It is a ThawError's own, or says what disk or memory lack; None for other errors.
    """
    if isinstance(error, ThawError):
        return str(error)
    return explain_system_error(error, workspace().root)


@contextmanager
def catch_errors() -> Iterator[None]:
    """Show a ThawError raised in the block as its sentence; the page continues after the block."""
    try:
        yield
    except ThawError as error:
        show_error(error)


def catch_errors_in(view: Callable[P, None]) -> Callable[P, None]:
    """Wrap `view` (for st.fragment) with `catch_errors`, so that its errors do not end the page."""

    @wraps(view)
    def shown(*args: P.args, **kwargs: P.kwargs) -> None:
        with catch_errors():
            view(*args, **kwargs)

    return shown
