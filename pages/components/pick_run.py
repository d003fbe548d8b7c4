"""The box that chooses a run; the address carries it as ?run=ID."""

from collections.abc import Callable, Sequence

import streamlit as st

from core.data.datasets import list_datasets
from core.runs.store import Run
from pages.components.common import SIMULATED, plain, when, workspace


def pick_run(runs: Sequence[Run], missing: Callable[[str], str]) -> Run:
    """The run in the address, else the first of `runs`; choosing another one puts its id there.

    missing: the sentence for an id that is none of them.
    """
    names: dict[str, str] = {}
    for run in runs:
        label = f"{run.name} · {when(run.created)} · {run.status}"
        # The box tells its options apart by what they show.
        names[run.id] = f"{label} · {run.id}" if label in names.values() else label
    ids = list(names)
    named = st.query_params.get("run", ids[0])
    if named not in names:
        st.error(plain(missing(named)))
        named = ids[0]
    chosen = st.selectbox(
        "Run",
        ids,
        index=ids.index(named),
        format_func=names.__getitem__,
        label_visibility="collapsed",
        help="The run that this page shows. It changes no result.",
    )
    if chosen != named:
        # What else the address says belongs to the other run.
        st.query_params.from_dict({"run": chosen})
        st.rerun()
    return next(run for run in runs if run.id == chosen)


def simulated_mark(run: Run) -> str:
    """SIMULATED, with a space before it, where the run's rows are."""
    return f" {SIMULATED}" if any(one.simulated for one in list_datasets(workspace()) if one.id == run.dataset) else ""
