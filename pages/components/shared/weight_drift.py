"""Weight drift: how far a fine-tuned run moved from its backbone, stage by stage.

The gradient norms of the stages are shown too.
"""

from collections.abc import Sequence

import numpy as np
import streamlit as st

from core.evaluation.geometry import pca_2d
from core.freezing.inputs import check_same_inputs
from core.inference.weight_drift_files import WeightDrift, read_embedding_vectors, read_weight_drift
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
from pages.components.shared.common import show_command, workspace
from pages.components.shared.errors import catch_errors
from pages.components.shared.formatting import format_percent
from pages.components.shared.task_progress import show_task_progress

ABOUT = (
    "How far fine-tuning moved each stage away from the backbone. **Weights**: distance "
    "between a stage's weights and the backbone's, divided by the norm of the backbone's. "
    "**Activations**: linear CKA (Kornblith et al. 2019) between a stage's output before "
    "and after, on the same target test rows; 1 means equal up to rotation and scale. The "
    "head is not compared."
)


def weight_drift_section(run: Run) -> None:
    """Draw the section, for a run that fine-tuned something."""
    st.subheader("Weight drift")
    st.caption(ABOUT)
    st.fragment(_section)(run)


def measure_weight_drift_button(run: Run) -> None:
    """Draw the button that measures the drift in a background process, or its progress."""
    space = workspace()
    key = f"moved {space.root} {run.id}"
    if show_task_progress(key, "Comparing stage by stage"):
        return
    if guarded_button(
        "Measure weight drift",
        icon=":material/straighten:",
        key=f"measure-{run.id}",
        help=(
            "Loads the backbone and the run's model, and stores the result with the run. "
            "Nothing is trained."
        ),
    ):
        tasks.forget(key)
        tasks.start(key, lambda report: weight_drift_in_subprocess(space, run.id, report))
        st.rerun()


def _section(run: Run) -> None:
    with catch_errors():
        check_same_inputs(run.finetune_request, run.id)
        drift = read_weight_drift(workspace(), run.id)
        if drift is None:
            measure_weight_drift_button(run)
        else:
            show_stage_drift(run, drift)
            if drift.fields:
                _embedding_map(run, drift.fields)
        show_gradient_norms(run)
        show_command(f"{PROGRAM} moved --run {run.id}")


def show_stage_drift(run: Run, drift: WeightDrift) -> None:
    """Draw weights and activations side by side, with a sentence about the largest drift."""
    st.markdown(describe_weight_drift(drift))
    height = 130 + 34 * len(drift.stages)
    left, right = st.columns(2)
    with left:
        st.markdown("**Weights**")
        chart(
            weight_distance_figure(drift.stages),
            f"distance-{run.id}",
            height,
            "Distance of weights, stage by stage",
        )
    with right:
        st.markdown("**Activations**")
        cka_by_stage = ", ".join(f"{stage.title} {_number(stage.cka)}" for stage in drift.stages)
        chart(cka_figure(drift.stages), f"cka-{run.id}", height, f"CKA: {cka_by_stage}")


def describe_weight_drift(drift: WeightDrift) -> str:
    """Say which stages did not move, which moved most, and whose output changed most."""
    if drift.from_scratch:
        return (
            "This run started from new weights, so the distances compare two separately "
            "trained networks, not the weights before and after."
        )
    stages = drift.stages
    unchanged = [stage for stage in stages if stage.distance == 0]
    moved = [stage for stage in stages if stage.distance]
    words = [
        (
            f"{len(unchanged)} of {len(stages)} stages did not change."
            if unchanged
            else "Every stage moved."
        )
    ]
    if moved:
        most = max(moved, key=lambda stage: stage.relative or 0)
        words.append(
            f"**{most.title}** moved furthest: {format_percent(most.relative, 2)} of its norm."
        )
    known = [(stage.cka, stage.title) for stage in stages if stage.cka is not None]
    if known:
        cka, title = min(known)
        changed = f"The output of **{title}** changed most: CKA {cka:.4f}"
        words.append(
            "No stage's output changed." if cka == 1 else f"{changed} on {drift.rows:,} rows."
        )
    return " ".join(words)


def _embedding_map(run: Run, fields: Sequence[str]) -> None:
    st.markdown("**Embedding map**")
    field = st.selectbox(
        "Field",
        fields,
        index=fields.index("C14") if "C14" in fields else 0,
        key=f"field-{run.id}",
        width=220,
        help=(
            "The field whose embedding vectors are shown: up to 200 most frequent values "
            "before and after, projected on their first two principal components. It "
            "changes no result."
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
        f"The two components explain {format_percent(share, 0)} of the variance. "
        + (
            "No vector moved."
            if np.array_equal(before, after)
            else "A line connects a value's positions before and after."
        )
    )


def show_gradient_norms(run: Run) -> None:
    """Draw gradient norms over time, if the run recorded them."""
    assert run.result is not None
    titles = {stage.name: stage.title for stage in run.result.stages}
    points = RunStore(workspace()).points(run.id, *(GRADIENT_PREFIX + name for name in titles))
    st.markdown("**Gradient norms over time**")
    if not points:
        st.caption(
            "This run recorded no gradients: an earlier version trained it, or it took too "
            "few steps."
        )
        return
    chart(
        gradient_figure(points, titles),
        f"gradients-{run.id}",
        320,
        "Norm of each trained stage's gradient by step",
    )
    st.caption(
        "A frozen stage has no gradient and no line. If all lines fall, training has converged."
    )


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"
