"""Costs of pretraining: size and estimated time of the chosen architecture, and of all others."""

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st

from core.data.datasets import Dataset
from core.errors import BadInput
from core.evaluation.format_metrics import MISSING_TEXT
from core.jobs.requests import PretrainRequest
from core.jobs.store import Run
from core.models.model_stats import ModelStats, StatsRequest, count_in_background, load_stats
from core.models.objectives import OBJECTIVES, stage_origins
from core.models.recommended_settings import choose_settings, pretraining_rows
from core.models.registry import ARCHITECTURES, is_installed
from core.runs.estimate import pretraining_estimate
from core.training.pretraining_defaults import recommended_statistics
from pages.components.shared.common import workspace
from pages.components.shared.errors import show_error
from pages.components.shared.formatting import (
    escape_markdown,
    format_approx_duration,
    format_compact,
)
from pages.components.shared.stack import draw_stages

POLL_SECONDS = 0.3
PENDING = "…"
REFERENCE_ARCHITECTURE = "dnn"
"""The architecture that the others' operations are compared with."""
OPERATIONS_HELP = (
    "Operations in the matrix products of one row's forward pass; a multiply-add counts as "
    "two. Embedding lookups count as zero."
)


@dataclass(frozen=True)
class PretrainingCosts:
    """Costs on one dataset, as far as they have been counted.

    Attributes:
        request: the request on the form; None while the form is incomplete.
        settings_by_architecture: all installed architectures with the recommended settings, the
            requested one with the request's.
        counted: costs counted so far, by architecture.
        error: why the remaining ones cannot be counted.
    """

    dataset: Dataset
    request: PretrainRequest | None
    settings_by_architecture: StatsRequest
    counted: dict[str, ModelStats]
    error: BadInput | None

    @property
    def chosen(self) -> ModelStats | None:
        """Cost of the requested architecture, or None."""
        return self.counted.get(self.request.architecture) if self.request else None

    @property
    def is_counting(self) -> bool:
        """Whether some architectures are still being counted."""
        return self.error is None and len(self.counted) < len(self.settings_by_architecture)


def read_costs(dataset: Dataset, request: PretrainRequest | None) -> PretrainingCosts:
    """Return what has been counted so far and start counting the rest in the background."""
    settings_by_architecture: dict[str, dict[str, Any]] = {
        name: choose_settings(name, {}, pretraining_rows(dataset))
        for name in ARCHITECTURES
        if is_installed(name)
    }
    if request:
        settings_by_architecture[request.architecture] = request.settings
    usual = recommended_statistics("", "supervised", pretraining_rows(dataset))
    error, statistics = None, request.statistics if request else usual
    try:
        count_in_background(workspace(), dataset, settings_by_architecture, statistics)
    except BadInput as refused:
        error = refused
    return PretrainingCosts(
        dataset,
        request,
        settings_by_architecture,
        load_stats(workspace(), dataset, settings_by_architecture, statistics),
        error,
    )


def wait_for_costs(costs: PretrainingCosts) -> None:
    """Wait for the background count, and rerun the page when costs have arrived.

    The page is rerun for the requested cost and for the last one.

    Must be the page's last call. Any click ends the wait, because Streamlit checks for a rerun
    whenever something is drawn. A fragment with ``run_every`` would not work: the browser sends the
    values of all fields with every tick and would undo what a preset has just filled in.
    """
    placeholder = st.empty()
    current = costs
    while current.is_counting:
        left = len(current.settings_by_architecture) - len(current.counted)
        placeholder.caption(
            f"{left} of {len(current.settings_by_architecture)} architectures are still being "
            "counted; this takes some seconds the first time."
        )
        time.sleep(POLL_SECONDS)
        current = read_costs(costs.dataset, costs.request)
        if not current.is_counting or (current.chosen and not costs.chosen):
            st.rerun()


def show_chosen_cost(
    costs: PretrainingCosts, request: PretrainRequest, rows: int, history: Sequence[Run]
) -> None:
    """Show the run's estimated time and the network's size.

    Args:
        rows: training rows.
        history: finished runs that calibrate the estimate, newest first.
    """
    st.markdown("##### Estimated cost")
    cost = costs.chosen
    estimate = pretraining_estimate(cost, request, rows, history) if cost else None
    seconds = format_approx_duration(estimate.seconds) if estimate else "a moment"
    with st.container(horizontal=True, gap="medium"):
        st.metric("Estimated time", seconds if cost else PENDING, width="content")
        st.metric(
            "Parameters", format_compact(cost.parameters) if cost else PENDING, width="content"
        )
        st.metric(
            "Operations per row",
            format_compact(cost.flops) if cost else PENDING,
            width="content",
            help=OPERATIONS_HELP,
        )
    if costs.error and not cost:
        show_error(costs.error)
    elif not cost:
        st.caption("Counting operations …")
    elif estimate:
        st.caption(estimate.explanation)


def show_stages(cost: ModelStats, request: PretrainRequest) -> None:
    """Draw the network stage by stage, with the origin its weights will have after the run."""
    origins = stage_origins(request.start, request.objective, len(cost.stages))
    draw_stages(
        [
            dataclasses.replace(stage, origin=origin)
            for stage, origin in zip(cost.stages, origins, strict=True)
        ]
    )


def show_cost_table(costs: PretrainingCosts, rows: int, history: Sequence[Run]) -> None:
    """Show the costs of every installed architecture as a table."""
    st.markdown("##### Cost by architecture")
    request = costs.request
    counted = [
        costs.counted[name] for name in costs.settings_by_architecture if name in costs.counted
    ]
    measure = (
        costs.counted[REFERENCE_ARCHITECTURE].flops
        if REFERENCE_ARCHITECTURE in costs.counted
        else None
    )
    table = pd.DataFrame([cost_row(cost, measure, request, rows, history) for cost in counted])
    if counted:
        st.dataframe(
            table,
            hide_index=True,
            height="content",
            alt="Stages, parameters, operations and estimated time of every architecture",
            column_config={
                "Description": st.column_config.TextColumn(width="large"),
                "Embedding": st.column_config.NumberColumn(
                    format="localized", help="Parameters of the embedding"
                ),
                "Other stages": st.column_config.NumberColumn(
                    format="localized", help="Parameters"
                ),
                "Operations per row": st.column_config.NumberColumn(
                    format="compact", help=OPERATIONS_HELP
                ),
                "× DNN": st.column_config.NumberColumn(
                    format="%.1f", help="Operations per row, relative to DNN"
                ),
            },
        )
    if costs.is_counting:
        return
    own = request and request.settings != choose_settings(request.architecture, {}, rows)
    exception = " except the chosen one" if own else ""
    trained = ", trained as set above" if "Estimated time" in table else ""
    not_installed = [one.title for name, one in ARCHITECTURES.items() if not is_installed(name)]
    left_out = (
        f" Not installed, so not listed: {', '.join(not_installed)}." if not_installed else ""
    )
    name = escape_markdown(costs.dataset.name)
    st.caption(
        f"For the vocabulary of {name}, at recommended settings{exception}{trained}.{left_out}"
    )


def cost_row(
    cost: ModelStats,
    reference_flops: int | None,
    request: PretrainRequest | None,
    rows: int,
    history: Sequence[Run],
) -> dict[str, Any]:
    """Return one row of the cost table."""
    about_it = ARCHITECTURES[cost.architecture]
    # Image networks have no embedding.
    embedding = sum(stage.parameters for stage in cost.stages if stage.name == "embedding")
    values = {
        "Architecture": about_it.title,
        "Stages": len(cost.stages),
        "Embedding": embedding,
        "Other stages": cost.parameters - embedding,
        "Operations per row": cost.flops,
        "× DNN": cost.flops / reference_flops if reference_flops else None,
    }
    if request and (OBJECTIVES[request.objective].trains or request.start == "word2vec"):
        able = (
            request.objective in about_it.objectives and request.start in about_it.initialisations
        )
        estimate = pretraining_estimate(cost, request, rows, history) if able else None
        values["Estimated time"] = (
            format_approx_duration(estimate.seconds) if estimate else MISSING_TEXT
        )
    return values | {"Description": about_it.summary}
