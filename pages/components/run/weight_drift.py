"""What moved: how far a fine-tuned run went from its backbone, stage by stage, and how its
gradients ran."""

from typing import Any

import numpy as np
import streamlit as st

from core.evaluation.geometry import pca_2d
from core.inference.weight_drift_files import read_embedding_vectors, read_weight_drift
from core.jobs.store import Run, RunStore
from core.program import PROGRAM
from core.report.weight_drift_figures import (
    GRADIENT_PREFIX,
    cka_figure,
    embedding_map_figure,
    gradient_figure,
    weight_distance_figure,
)
from core.runs import tasks
from core.runs.subprocess_commands import weight_drift_in_subprocess
from pages.components.shared.access import guarded_button
from pages.components.shared.chart import chart
from pages.components.shared.common import catch_errors, format_percent, show_command, workspace
from pages.components.shared.task_progress import show_task_progress

ABOUT = (
    "Freezing decides what may move; this measures what did. **Weights**: the distance of a stage's"
    " weights from the backbone's, over their norm. **Activations**: linear CKA (Kornblith et al."
    " 2019) of what a stage hands on before and after, on the same target test rows; 1 means"
    " nothing that a linear layer above could tell apart, up to scale. The head is new, so it has"
    " nothing to be held against."
)


def weight_drift_section(run: Run) -> None:
    """The section, for a run that fine-tuned something."""
    st.subheader("What moved")
    st.caption(ABOUT)
    st.fragment(_section)(run)


def measure_weight_drift_button(run: Run) -> None:
    """Has it measured by a process of its own, and shows how far that is: the page goes on
    meanwhile."""
    space = workspace()
    key = f"moved {space.root} {run.id}"
    if show_task_progress(key, "Comparing stage by stage"):
        return
    if guarded_button(
        "Measure what moved",
        icon=":material/straighten:",
        key=f"measure-{run.id}",
        help=(
            "Loads the backbone and the run's model, and keeps what it finds with the run. Nothing"
            " is trained."
        ),
    ):
        tasks.forget(key)
        tasks.start(key, lambda report: weight_drift_in_subprocess(space, run.id, report))
        st.rerun()


def _section(run: Run) -> None:
    with catch_errors():
        found = read_weight_drift(workspace(), run.id)
        if found is None:
            measure_weight_drift_button(run)
        else:
            show_stage_drift(run, found)
            if found["fields"]:
                _embedding_map(run, found["fields"])
        show_gradient_norms(run)
        show_command(f"{PROGRAM} moved --run {run.id}")


def show_stage_drift(run: Run, found: dict[str, Any]) -> None:
    """Weights and activations side by side, and in words which stage moved most."""
    st.markdown(describe_weight_drift(found))
    height = 130 + 34 * len(found["stages"])
    left, right = st.columns(2)
    with left:
        st.markdown("**Weights**")
        chart(
            weight_distance_figure(found["stages"]),
            f"distance-{run.id}",
            height,
            "Distance of weights, stage by stage",
        )
    with right:
        st.markdown("**Activations**")
        spoken = ", ".join(f"{stage['title']} {_number(stage['cka'])}" for stage in found["stages"])
        chart(cka_figure(found["stages"]), f"cka-{run.id}", height, f"CKA: {spoken}")


def describe_weight_drift(found: dict[str, Any]) -> str:
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
            f"**{most['title']}** moved furthest: {format_percent(most['relative'], 2)} of its norm."
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


def _embedding_map(run: Run, fields: list[str]) -> None:
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
    before, after, values = read_embedding_vectors(workspace(), run.id, field)
    first, second, share = pca_2d(before, after)
    chart(
        embedding_map_figure(first, second, values),
        f"map-{run.id}",
        420,
        f"Vectors of {len(values)} values of {field}",
    )
    st.caption(
        f"The plane shows {format_percent(share, 0)} of the variance. "
        + (
            "No vector moved."
            if np.array_equal(before, after)
            else "A line joins a value's place before and after."
        )
    )


def show_gradient_norms(run: Run) -> None:
    """Gradient norms over time, where the run recorded them."""
    assert run.result is not None
    titles = {stage.name: stage.title for stage in run.result.stages}
    points = RunStore(workspace()).points(run.id, *(GRADIENT_PREFIX + name for name in titles))
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
