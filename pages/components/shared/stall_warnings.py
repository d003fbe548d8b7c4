"""Runs whose process gives no sign of life, said wherever they are watched."""

from collections.abc import Sequence

import streamlit as st

from core.jobs.store import Run
from core.runs.launch import check_stall, stall_message
from pages.components.shared.common import escape_inline, workspace

MAX_SENTENCES = 3


def show_stall_warnings(runs: Sequence[Run]) -> None:
    """A warning for each of `runs` that has stalled: since when, and what to do."""
    stalls = [(run, stall) for run in runs if (stall := check_stall(workspace(), run).stall)]
    # Runs that wait for the same stopped worker say the same.
    said = dict.fromkeys(stall_message(stall, run) for run, stall in stalls)
    for sentence in [*said][:MAX_SENTENCES]:
        st.warning(_with_commands(sentence), icon=":material/hourglass_disabled:")


def _with_commands(sentence: str) -> str:
    """As `plain`, but what stands between backticks is a command, to be copied."""
    parts = sentence.split("`")
    return "".join(
        f"`{part}`" if place % 2 else escape_inline(part) for place, part in enumerate(parts)
    )
