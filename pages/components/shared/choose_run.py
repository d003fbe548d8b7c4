"""The select box for a run; the URL carries it as ``?run=ID``."""

from collections.abc import Callable, Sequence

import streamlit as st

from core.data.datasets import list_datasets
from core.jobs.store import Run
from pages.components.shared import url_state
from pages.components.shared.common import SIMULATED, workspace
from pages.components.shared.formatting import escape_inline, format_datetime, format_int

MAX_OFFERED = 300
"""Newest runs in the box; thousands would add half a megabyte to every rerun. Compare lists all
runs."""


def choose_run(runs: Sequence[Run], unknown_sentence: Callable[[str], str]) -> Run:
    """Return the run in the URL, else the first of `runs`; choosing another writes its id there.

    Args:
        unknown_sentence: returns the sentence for an id that is not among `runs`.
    """
    by_id = {run.id: run for run in runs}
    named = url_state.get("run") or runs[0].id
    if named not in by_id:
        st.error(escape_inline(unknown_sentence(named)))
        named = runs[0].id
    names: dict[str, str] = {}
    labels = set()
    for run in {run.id: run for run in (*runs[:MAX_OFFERED], by_id[named])}.values():
        label = f"{run.name} · {format_datetime(run.created)} · {run.status}"
        # Streamlit identifies options by their label, so labels must be unique.
        names[run.id] = f"{label} · {run.id}" if label in labels else label
        labels.add(label)
    ids = list(names)
    chosen = st.selectbox(
        "Run",
        ids,
        index=ids.index(named),
        format_func=names.__getitem__,
        label_visibility="collapsed",
        help="The run that this page shows. It changes no result.",
    )
    if len(runs) > len(ids):
        st.caption(
            f"The newest {MAX_OFFERED} of {format_int(len(runs))} runs are listed here; "
            "Compare lists all of them."
        )
    if chosen != named:
        url_state.replace(run=chosen)
        st.rerun()
    return by_id[chosen]


def simulated_suffix(run: Run) -> str:
    """Return the badge "simulated" if the run's rows are simulated, else "".

    The badge has a leading space.
    """
    return (
        f" {SIMULATED}"
        if any(
            dataset.simulated for dataset in list_datasets(workspace()) if dataset.id == run.dataset
        )
        else ""
    )
