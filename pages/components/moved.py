"""What moved: how far a fine-tuned run went from its backbone, stage by stage, and how its
gradients ran."""

from typing import Any

import numpy as np
import streamlit as st

from core.evaluation.geometry import plane
from core.program import PROGRAM
from core.report.moved_figures import (
    GRADIENT,
    cka_figure,
    distance_figure,
    gradient_figure,
    map_figure,
)
from core.runs import errands
from core.runs.moved import moved_in_subprocess, read_moved, read_vectors
from core.runs.store import Run, RunStore
from pages.components.access import write_button
from pages.components.chart import chart
from pages.components.common import command_hint, errors_shown, percent, workspace
from pages.components.errand import errand_view

ABOUT = (
    "Freezing decides what may move; this measures what did. **Weights**: the distance of a stage's"
    " weights from the backbone's, over their norm. **Activations**: linear CKA (Kornblith et al."
    " 2019) of what a stage hands on before and after, on the same target test rows; 1 means"
    " nothing that a linear layer above could tell apart, up to scale. The head is new, so it has"
    " nothing to be held against."
)


def moved_view(run: Run) -> None:
    """The section, for a run that fine-tuned something."""
    st.subheader("What moved")
    st.caption(ABOUT)
    st.fragment(_section)(run)


def measure_button(run: Run) -> None:
    """Has it measured by a process of its own, and shows how far that is: the page goes on
    meanwhile."""
    space = workspace()
    key = f"moved {space.root} {run.id}"
    if errand_view(key, "Comparing stage by stage"):
        return
    if write_button(
        "Measure what moved",
        icon=":material/straighten:",
        key=f"measure-{run.id}",
        help=(
            "Loads the backbone and the run's model, and keeps what it finds with the run. Nothing"
            " is trained."
        ),
    ):
        errands.forget(key)
        errands.start(key, lambda report: moved_in_subprocess(space, run.id, report))
        st.rerun()


def _section(run: Run) -> None:
    with errors_shown():
        found = read_moved(workspace(), run.id)
        if found is None:
            measure_button(run)
        else:
            stages_moved(run, found)
            if found["fields"]:
                _map(run, found["fields"])
        gradients(run)
        command_hint(f"{PROGRAM} moved --run {run.id}")


def stages_moved(run: Run, found: dict[str, Any]) -> None:
    """Weights and activations side by side, and in words which stage moved most."""
    st.markdown(moved_in_words(found))
    height = 130 + 34 * len(found["stages"])
    left, right = st.columns(2)
    with left:
        st.markdown("**Weights**")
        chart(
            distance_figure(found["stages"]),
            f"distance-{run.id}",
            height,
            "Distance of weights, stage by stage",
        )
    with right:
        st.markdown("**Activations**")
        spoken = ", ".join(f"{stage['title']} {_number(stage['cka'])}" for stage in found["stages"])
        chart(cka_figure(found["stages"]), f"cka-{run.id}", height, f"CKA: {spoken}")


def moved_in_words(found: dict[str, Any]) -> str:
    """Which stages stayed, which moved most, and where the activations changed most."""
    if found["from_scratch"]:
        return (
            "This run began with new weights, so the distances say how far apart two networks are,"
            " not what moved."
        )
    stages = found["stages"]
    still = [stage for stage in stages if stage["distance"] == 0]
    moved = [stage for stage in stages if stage["distance"]]
    words = [
        (
            f"{len(still)} of {len(stages)} stages kept every weight."
            if still
            else "Every stage moved."
        )
    ]
    if moved:
        most = max(moved, key=lambda stage: stage["relative"] or 0)
        words.append(
            f"**{most['title']}** moved furthest: {percent(most['relative'], 2)} of its norm."
        )
    known = [stage for stage in stages if stage["cka"] is not None]
    if known:
        least = min(known, key=lambda stage: stage["cka"])
        changed = f"What **{least['title']}** hands on changed most: CKA {least['cka']:.4f}"
        words.append(
            "No stage hands on anything else."
            if least["cka"] == 1
            else f"{changed} on {found['rows']:,} rows."
        )
    return " ".join(words)


def _map(run: Run, fields: list[str]) -> None:
    st.markdown("**Embedding map**")
    field = st.selectbox(
        "Field",
        fields,
        index=fields.index("C14") if "C14" in fields else 0,
        key=f"field-{run.id}",
        width=220,
        help=(
            "Whose vectors the map shows: up to 200 commonest values before and after, in the plane"
            " of their two strongest principal components. It changes no result."
        ),
    )
    before, after, values = read_vectors(workspace(), run.id, field)
    first, second, share = plane(before, after)
    chart(
        map_figure(first, second, values),
        f"map-{run.id}",
        420,
        f"Vectors of {len(values)} values of {field}",
    )
    st.caption(
        f"The plane shows {percent(share, 0)} of the variance. "
        + (
            "No vector moved."
            if np.array_equal(before, after)
            else "A line joins a value's place before and after."
        )
    )


def gradients(run: Run) -> None:
    """Gradient norms over time, where the run recorded them."""
    assert run.result is not None
    titles = {stage["name"]: stage["title"] for stage in run.result["stages"]}
    points = RunStore(workspace()).points(run.id, *(GRADIENT + name for name in titles))
    st.markdown("**Gradient norms over time**")
    if not points:
        st.caption(
            "This run recorded no gradients: it is older than their recording, or took too few"
            " steps."
        )
        return
    chart(
        gradient_figure(points, titles),
        f"gradients-{run.id}",
        320,
        "Norm of each trained stage's gradient by step",
    )
    st.caption(
        "A frozen stage has no gradient and no line. Lines that fall together say that training has"
        " settled."
    )


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"
