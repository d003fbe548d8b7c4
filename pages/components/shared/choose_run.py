"""The box that chooses a run; the address carries it as ?run=ID."""

from collections.abc import Callable, Sequence

import streamlit as st

from core.data.datasets import list_datasets
from core.jobs.store import Run
from pages.components.shared.common import (
    SIMULATED,
    escape_inline,
    format_datetime,
    format_int,
    workspace,
)

MAX_OFFERED = 300
"""Newest runs in the box; thousands would take every look at the page half a megabyte. Compare
lists and finds all."""


def choose_run(runs: Sequence[Run], unknown_sentence: Callable[[str], str]) -> Run:
    """The run in the address, else the first of `runs`; choosing another one puts its id there.

    missing: the sentence for an id that is none of them.
    """
    by_id = {run.id: run for run in runs}
    named = st.query_params.get("run", runs[0].id)
    if named not in by_id:
        st.error(escape_inline(unknown_sentence(named)))
        named = runs[0].id
    names: dict[str, str] = {}
    taken = set()
    for run in {run.id: run for run in (*runs[:MAX_OFFERED], by_id[named])}.values():
        label = f"{run.name} · {format_datetime(run.created)} · {run.status}"
        # The box tells its options apart by what they show.
        names[run.id] = f"{label} · {run.id}" if label in taken else label
        taken.add(label)
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
            f"The newest {MAX_OFFERED} of {format_int(len(runs))} runs are offered here; Compare finds every"
            " one."
        )
    if chosen != named:
        # What else the address says belongs to the other run.
        st.query_params.from_dict({"run": chosen})
        st.rerun()
    return by_id[chosen]


def simulated_suffix(run: Run) -> str:
    """SIMULATED, with a space before it, where the run's rows are."""
    return (
        f" {SIMULATED}"
        if any(one.simulated for one in list_datasets(workspace()) if one.id == run.dataset)
        else ""
    )
