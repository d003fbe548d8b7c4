"""Warnings about runs whose process no longer reports, wherever runs are shown."""

from collections.abc import Sequence

import streamlit as st

from core.jobs.store import Run
from core.runs.launch import check_stall, stall_message
from pages.components.shared.common import workspace
from pages.components.shared.formatting import escape_inline

MAX_SENTENCES = 3


def show_stall_warnings(runs: Sequence[Run]) -> None:
    """Warn about each of `runs` that has stalled: since when, and what to do."""
    stalls = [(run, stall) for run in runs if (stall := check_stall(workspace(), run).stall)]
    # Runs that wait for the same stopped worker have the same sentence: show it once.
    sentences = dict.fromkeys(stall_message(stall, run) for run, stall in stalls)
    for sentence in [*sentences][:MAX_SENTENCES]:
        st.warning(_with_commands(sentence), icon=":material/hourglass_disabled:")


def _with_commands(sentence: str) -> str:
    """Escape the sentence except for commands between backticks, which can be copied."""
    parts = sentence.split("`")
    return "".join(
        f"`{part}`" if index % 2 else escape_inline(part) for index, part in enumerate(parts)
    )
