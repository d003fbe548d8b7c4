"""What pretraining costs: the chosen network in a few numbers, and every architecture beside the others."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import streamlit as st

from core.data.datasets import Dataset
from core.errors import BadInput
from core.models.costs import Cost, Wanted, count_apart, kept_costs
from core.models.registry import ARCHITECTURES, is_installed
from core.runs.store import Run, RunStore
from core.training.estimate import pretraining_estimate
from core.training.objectives import OBJECTIVES, origins
from core.training.settings import PretrainRequest
from pages.components.common import MISSING, about, escape_markdown, short_count, show_error, workspace
from pages.components.stack import stack_of_stages

TICK = 1.0
WAITING = "…"
MEASURE = "dnn"
"""What every architecture is measured against."""
OPERATIONS = "Of one row's forward pass, in matrix products; a multiply-add counts as two. Lookups count as none."


def polled(draw: Callable[[bool], None], dataset: Dataset, wanted: Wanted) -> None:
    """Draws now, and every second anew while something of `wanted` is still being counted.

    draw: is told whether it is waited for. The page as a whole runs once more when the wait is over.
    """

    def tick(waited: bool) -> None:
        error = begin(dataset, wanted)
        if waited and (error or not missing(dataset, wanted)):
            st.rerun()
        if error:
            show_error(error)
        draw(waited)

    # Counting begins before it is seen what is missing: where it is quick, nothing is waited for.
    waiting = begin(dataset, wanted) is None and missing(dataset, wanted)
    st.fragment(tick, run_every=TICK if waiting else None)(waiting)


def begin(dataset: Dataset, wanted: Wanted) -> BadInput | None:
    """Has `wanted` counted unless it was; the error that stands in the way."""
    try:
        count_apart(workspace(), dataset, wanted)
    except BadInput as error:
        return error
    return None


def missing(dataset: Dataset, wanted: Wanted) -> bool:
    """Whether something of `wanted` has not been counted."""
    return len(kept_costs(workspace(), dataset, wanted)) < len(wanted)


def show_cost(dataset: Dataset, request: PretrainRequest, rows: int) -> None:
    """The run's estimated time and the network's size."""
    st.markdown("##### What it will cost")
    wanted = {request.architecture: request.settings}

    def draw(waited: bool) -> None:
        cost = kept_costs(workspace(), dataset, wanted).get(request.architecture)
        history = RunStore(workspace()).list(status="done")
        estimate = pretraining_estimate(cost, request, rows, history) if cost else None
        seconds = about(estimate.seconds) if estimate else "a moment"
        with st.container(horizontal=True, gap="medium"):
            st.metric("Estimated time", seconds if cost else WAITING, width="content")
            st.metric("Parameters", short_count(cost.parameters) if cost else WAITING, width="content")
            operations = short_count(cost.flops) if cost else WAITING
            st.metric("Operations a row", operations, width="content", help=OPERATIONS)
        if not cost and waited:
            st.caption("It is being counted, which takes some seconds the first time.")
        elif estimate:
            st.caption(estimate.basis)

    polled(draw, dataset, wanted)


def show_stages(dataset: Dataset, request: PretrainRequest) -> None:
    """The network stage by stage, as it will be once the run has ended."""
    wanted = {request.architecture: request.settings}
    cost = kept_costs(workspace(), dataset, wanted).get(request.architecture)
    if cost:
        origin = origins(request.start, request.objective, len(cost.stages))
        stack_of_stages(
            [dataclasses.replace(stage, origin=one) for stage, one in zip(cost.stages, origin, strict=True)]
        )


def show_costs(dataset: Dataset, request: PretrainRequest | None, rows: int) -> None:
    """Every architecture that can be built here, at its defaults or, for the one asked for, at its own settings."""
    st.markdown("##### What each would cost")
    wanted: dict[str, dict[str, Any]] = {name: {} for name in ARCHITECTURES if is_installed(name)}
    if request and request.architecture in wanted:
        wanted[request.architecture] = request.settings

    def draw(waited: bool) -> None:
        found = kept_costs(workspace(), dataset, wanted)
        if found:
            cost_table(dataset, [found[name] for name in wanted if name in found], request, rows)
        if len(found) < len(wanted) and waited:
            st.caption(f"{len(found)} of {len(wanted)} are counted; the others follow in some seconds.")

    polled(draw, dataset, wanted)


def cost_table(dataset: Dataset, found: Sequence[Cost], request: PretrainRequest | None, rows: int) -> None:
    """The table, and what it rests on."""
    history = RunStore(workspace()).list(status="done")
    measure = next((cost.flops for cost in found if cost.architecture == MEASURE), None)
    table = pd.DataFrame([cost_row(cost, measure, request, rows, history) for cost in found])
    st.dataframe(
        table,
        hide_index=True,
        height="content",
        alt="Stages, parameters, operations and estimated time of every architecture",
        column_config={
            "What it is": st.column_config.TextColumn(width="large"),
            "Embedding": st.column_config.NumberColumn(format="localized", help="Parameters of the embedding"),
            "Other stages": st.column_config.NumberColumn(format="localized", help="Parameters"),
            "Operations a row": st.column_config.NumberColumn(format="compact", help=OPERATIONS),
            "× DNN": st.column_config.NumberColumn(format="%.1f", help="Operations a row against DNN's"),
        },
    )
    own = " but for the chosen one" if request and request.settings else ""
    trained = ", trained as set above" if "Estimated time" in table else ""
    absent = [one.title for name, one in ARCHITECTURES.items() if not is_installed(name)]
    left_out = f" Not installed here, and so left out: {', '.join(absent)}." if absent else ""
    name = escape_markdown(dataset.name)
    st.caption(f"On the vocabulary of {name}, at default settings{own}{trained}.{left_out}")


def cost_row(
    cost: Cost, measure: int | None, request: PretrainRequest | None, rows: int, history: Sequence[Run]
) -> dict[str, Any]:
    """One line of the table."""
    about_it = ARCHITECTURES[cost.architecture]
    # Networks that look at pictures have none.
    embedding = sum(stage.parameters for stage in cost.stages if stage.name == "embedding")
    values = {
        "Architecture": about_it.title,
        "Stages": len(cost.stages),
        "Embedding": embedding,
        "Other stages": cost.parameters - embedding,
        "Operations a row": cost.flops,
        "× DNN": cost.flops / measure if measure else None,
    }
    if request and (OBJECTIVES[request.objective].trains or request.start == "word2vec"):
        able = request.objective in about_it.objectives and request.start in about_it.starts
        estimate = pretraining_estimate(cost, request, rows, history) if able else None
        values["Estimated time"] = about(estimate.seconds) if estimate else MISSING
    return values | {"What it is": about_it.summary}
