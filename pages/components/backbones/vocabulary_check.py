"""The vocabulary check: which of a dataset's target values a backbone has never seen, by column."""

from collections.abc import Callable

import plotly.graph_objects as go
import streamlit as st

from core.data.dataset_rows import FieldCoverage
from core.data.datasets import Dataset
from core.freezing.known_values import UNSEEN_WARNING_RULE, unseen_share
from core.models.card import BackboneCard
from core.program import PROGRAM
from core.report.palette import FROZEN, NEUTRAL, TRAINED
from pages.components.shared.chart import chart
from pages.components.shared.choosers import choose_named
from pages.components.shared.common import show_command
from pages.components.shared.errors import catch_errors
from pages.components.shared.formatting import escape_markdown, format_percent
from pages.components.shared.vocabulary_coverage import (
    cached_coverage,
    coverage_warning,
    lacks_real_values,
)


def vocabulary_check(
    cards: list[BackboneCard], datasets: list[Dataset], prefill: Callable[[str, str], None]
) -> None:
    """Choose a backbone and a dataset and compare their vocabularies.

    Args:
        prefill: opens the pretraining form for a dataset and an architecture; a button's callback.
    """
    datasets = [dataset for dataset in datasets if dataset.labelled]
    if not cards or not datasets:
        st.info(
            "The check compares a backbone with a labelled dataset; one of them is still missing."
        )
        st.page_link("data.py", label="Prepare a dataset", icon=":material/table_chart:")
        return
    left, right = st.columns(2)
    with left:
        card = choose_named("Backbone", cards, "backbone")
    with right:
        dataset = choose_named("Dataset", datasets, "dataset")
    with catch_errors():
        fields = cached_coverage(dataset, card)
        show_coverage_verdict(fields, dataset, card, prefill)
        fields.sort(key=lambda field: (field.unseen_share, field.missing_share), reverse=True)
        chart(
            coverage_figure(fields),
            "coverage",
            height=340,
            alt=(
                f"Share of target values unseen by {card.name}, missing and known; most unseen:"
                f" {fields[0].field}, {format_percent(fields[0].unseen_share)}"
            ),
        )
        with st.expander("As a table", icon=":material/table:"):
            coverage_table(fields)
        show_command(f"{PROGRAM} vocabulary --backbone {card.id} --dataset {dataset.id}")


def show_coverage_verdict(
    fields: list[FieldCoverage],
    dataset: Dataset,
    card: BackboneCard,
    prefill: Callable[[str, str], None],
) -> None:
    """Show the result of the coverage check in a sentence, with the rule behind it.

    If the backbone does not fit, also show what to do.
    """
    warning = coverage_warning(fields, 1)
    if lacks_real_values(dataset, card):
        st.warning(
            f"**{escape_markdown(card.name)}** was trained on simulated rows: it does not "
            "know the hashes in real Criteo traffic. Pretrain a backbone on this dataset's "
            "own source rows instead.",
            icon=":material/warning:",
        )
    elif warning:
        st.warning(warning, icon=":material/warning:")
    else:
        st.success(
            f"This backbone knows {format_percent(1 - unseen_share(fields))} of the "
            "categorical values in the target training rows: freezing its embedding keeps "
            "what it learned about them.",
            icon=":material/check_circle:",
        )
    share = unseen_share(fields)
    st.caption(
        f"{format_percent(share)} of the categorical values in the target training rows are "
        f"unseen. {UNSEEN_WARNING_RULE} Values too rare in a backbone's own training rows "
        "count as unseen too."
    )
    if (warning or lacks_real_values(dataset, card)) and dataset.has_source:
        st.button(
            f"Pretrain on the source rows of {dataset.name}",
            type="primary",
            icon=":material/model_training:",
            on_click=prefill,
            args=(dataset.name, card.architecture),
        )


def coverage_figure(fields: list[FieldCoverage]) -> go.Figure:
    """Return stacked bars of unseen, missing and known shares by field, in the given order."""
    names = [field.field for field in fields]
    shares = {
        "unseen": [field.unseen_share for field in fields],
        "missing": [field.missing_share for field in fields],
        "known": [1 - field.unseen_share - field.missing_share for field in fields],
    }
    colors = {"unseen": TRAINED, "missing": NEUTRAL, "known": FROZEN}
    figure = go.Figure(
        [
            go.Bar(
                name=name,
                x=names,
                y=values,
                marker={"color": colors[name]},
                hovertemplate="%{x} %{y:.1%} " + name,
            )
            for name, values in shares.items()
        ]
    )
    return figure.update_layout(
        barmode="stack",
        bargap=0.15,
        margin={"l": 50, "r": 10, "t": 30, "b": 40},
        legend={"orientation": "h", "y": 1.12, "x": 0, "traceorder": "normal"},
        yaxis={"tickformat": ".0%", "range": [0, 1], "title": "target training rows"},
    )


def coverage_table(fields: list[FieldCoverage]) -> None:
    """Show the same numbers as a sortable table."""
    share = st.column_config.ProgressColumn(format="percent", min_value=0, max_value=1)
    st.dataframe(
        {
            "Column": [field.field for field in fields],
            "Unseen": [field.unseen_share for field in fields],
            "Missing": [field.missing_share for field in fields],
        },
        hide_index=True,
        column_config={"Unseen": share, "Missing": share},
    )
