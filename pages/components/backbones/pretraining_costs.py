"""What pretraining costs: the chosen network in a few numbers, and every architecture beside the
others."""

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st

from core.data.datasets import Dataset
from core.errors import BadInput
from core.jobs.requests import PretrainRequest
from core.jobs.store import Run
from core.models.model_stats import ModelStats, StatsRequest, count_in_background, load_stats
from core.models.objectives import OBJECTIVES, stage_origins
from core.models.registry import ARCHITECTURES, is_installed
from core.runs.estimate import pretraining_estimate
from pages.components.shared.common import (
    MISSING_TEXT,
    escape_markdown,
    format_approx_duration,
    format_compact,
    show_error,
    workspace,
)
from pages.components.shared.stack import draw_stages

POLL_SECONDS = 0.3
PENDING = "…"
REFERENCE_ARCHITECTURE = "dnn"
"""What every architecture is measured against."""
OPERATIONS_HELP = (
    "Of one row's forward pass, in matrix products; a multiply-add counts as two. Lookups count as"
    " none."
)


@dataclass(frozen=True)
class PretrainingCosts:
    """What is known of the costs on one dataset. request: what is asked for, None while it cannot
    be.

    settings_by_architecture: everything that can be built here, at its defaults or the request's settings. counted:
    what was counted of it. error: why the rest never will be.
    """

    dataset: Dataset
    request: PretrainRequest | None
    settings_by_architecture: StatsRequest
    counted: dict[str, ModelStats]
    error: BadInput | None

    @property
    def chosen(self) -> ModelStats | None:
        """The cost of what is asked for."""
        return self.counted.get(self.request.architecture) if self.request else None

    @property
    def is_counting(self) -> bool:
        """Whether something is still being counted."""
        return self.error is None and len(self.counted) < len(self.settings_by_architecture)


def read_costs(dataset: Dataset, request: PretrainRequest | None) -> PretrainingCosts:
    """What was counted so far; the rest is being counted from now on."""
    wanted: dict[str, dict[str, Any]] = {name: {} for name in ARCHITECTURES if is_installed(name)}
    if request:
        wanted[request.architecture] = request.settings
    error = None
    try:
        count_in_background(workspace(), dataset, wanted)
    except BadInput as refused:
        error = refused
    return PretrainingCosts(
        dataset, request, wanted, load_stats(workspace(), dataset, wanted), error
    )


def wait_for_costs(costs: PretrainingCosts) -> None:
    """Waits for what is being counted, and runs the page anew once what was asked for, or the last,
    has come.

    The page's last call. Any click ends the wait, since drawing is where Streamlit looks for one. A
    fragment that runs every second would not do: the browser sends it all fields as they stood,
    which takes back what a preset has just filled in.
    """
    spot = st.empty()
    now = costs
    while now.is_counting:
        left = len(now.settings_by_architecture) - len(now.counted)
        spot.caption(
            f"{left} of {len(now.settings_by_architecture)} are still being counted, which takes some seconds the"
            " first time."
        )
        time.sleep(POLL_SECONDS)
        now = read_costs(costs.dataset, costs.request)
        if not now.is_counting or (now.chosen and not costs.chosen):
            st.rerun()


def show_chosen_cost(
    costs: PretrainingCosts, request: PretrainRequest, rows: int, history: Sequence[Run]
) -> None:
    """The run's estimated time and the network's size. history: finished runs that calibrate,
    newest first."""
    st.markdown("##### What it will cost")
    cost = costs.chosen
    estimate = pretraining_estimate(cost, request, rows, history) if cost else None
    seconds = format_approx_duration(estimate.seconds) if estimate else "a moment"
    with st.container(horizontal=True, gap="medium"):
        st.metric("Estimated time", seconds if cost else PENDING, width="content")
        st.metric(
            "Parameters", format_compact(cost.parameters) if cost else PENDING, width="content"
        )
        st.metric(
            "Operations a row",
            format_compact(cost.flops) if cost else PENDING,
            width="content",
            help=OPERATIONS_HELP,
        )
    if costs.error and not cost:
        show_error(costs.error)
    elif not cost:
        st.caption("It is being counted.")
    elif estimate:
        st.caption(estimate.explanation)


def show_stages(cost: ModelStats, request: PretrainRequest) -> None:
    """The network stage by stage, as it will be once the run has ended."""
    origin = stage_origins(request.start, request.objective, len(cost.stages))
    draw_stages(
        [
            dataclasses.replace(stage, origin=one)
            for stage, one in zip(cost.stages, origin, strict=True)
        ]
    )


def show_cost_table(costs: PretrainingCosts, rows: int, history: Sequence[Run]) -> None:
    """Every architecture that can be built here, and what the numbers rest on."""
    st.markdown("##### What each would cost")
    request = costs.request
    found = [
        costs.counted[name] for name in costs.settings_by_architecture if name in costs.counted
    ]
    measure = (
        costs.counted[REFERENCE_ARCHITECTURE].flops
        if REFERENCE_ARCHITECTURE in costs.counted
        else None
    )
    table = pd.DataFrame([cost_row(cost, measure, request, rows, history) for cost in found])
    if found:
        st.dataframe(
            table,
            hide_index=True,
            height="content",
            alt="Stages, parameters, operations and estimated time of every architecture",
            column_config={
                "What it is": st.column_config.TextColumn(width="large"),
                "Embedding": st.column_config.NumberColumn(
                    format="localized", help="Parameters of the embedding"
                ),
                "Other stages": st.column_config.NumberColumn(
                    format="localized", help="Parameters"
                ),
                "Operations a row": st.column_config.NumberColumn(
                    format="compact", help=OPERATIONS_HELP
                ),
                "× DNN": st.column_config.NumberColumn(
                    format="%.1f", help="Operations a row against DNN's"
                ),
            },
        )
    if costs.is_counting:
        return
    own = " but for the chosen one" if request and request.settings else ""
    trained = ", trained as set above" if "Estimated time" in table else ""
    absent = [one.title for name, one in ARCHITECTURES.items() if not is_installed(name)]
    left_out = f" Not installed here, and so left out: {', '.join(absent)}." if absent else ""
    name = escape_markdown(costs.dataset.name)
    st.caption(f"On the vocabulary of {name}, at default settings{own}{trained}.{left_out}")


def cost_row(
    cost: ModelStats,
    reference_flops: int | None,
    request: PretrainRequest | None,
    rows: int,
    history: Sequence[Run],
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
    return values | {"What it is": about_it.summary}
