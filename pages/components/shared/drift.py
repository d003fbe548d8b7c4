"""Drift of the fields between two sets of rows: a sentence, bars and a table."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from core.data.drift import DRIFT_THRESHOLDS, FieldDrift
from core.data.schema import FIELDS
from core.report.data_figures import drift_figure
from pages.components.shared.chart import chart


def drift_view(
    drifts: Sequence[FieldDrift],
    compared_rows: str,
    names: tuple[str, str],
    rare_values: str,
    too_few_rows: str = "",
) -> None:
    """Show all fields, those that drifted most first.

    Args:
        compared_rows: the compared rows, as in "between the … and the … rows".
        names: short names of both sets, for column titles.
        rare_values: how unseen values of the earlier rows are to be read.
        too_few_rows: a sentence from core.data.profile.too_few_for_drift; if it is not empty, it is
            shown in place of indexes and levels, and only the shares are shown.
    """
    drifts = sorted(drifts, key=lambda field: field.psi, reverse=True)
    if too_few_rows:
        st.info(too_few_rows, icon=":material/info:")
        _table(sorted(drifts, key=lambda field: FIELDS.index(field.field)), names, judged=False)
        st.caption(
            f"Unseen: values that are not in the vocabulary of the training rows; {rare_values}."
        )
        return
    st.markdown(describe_drift(drifts, compared_rows))
    with st.grid(2, min_column_width=330):
        figure = drift_figure(drifts, f"the {names[1]}")
        chart(figure, key="drift", height=400, alt="The fields that drifted most", modebar=False)
        _table(drifts, names, judged=True)
    noise = max(field.noise for field in drifts)
    st.caption(
        "Index: population stability index over the field's values. Unseen: values that are "
        f"not in the vocabulary of the training rows; {rare_values}."
        + (
            f" With this few rows, chance alone gives an index of up to {noise:.2f}."
            if noise > min(DRIFT_THRESHOLDS)
            else ""
        )
    )


def _table(drifts: Sequence[FieldDrift], names: tuple[str, str], judged: bool) -> None:
    """One row per field; with index and level where drift is judged."""
    before, after = names
    index = (
        {"Index": [field.psi for field in drifts], "Drift": [field.level for field in drifts]}
        if judged
        else {}
    )
    table = pd.DataFrame(
        {
            "Field": [field.field for field in drifts],
            **index,
            f"Unseen, {before}": [field.unseen_source for field in drifts],
            f"Unseen, {after}": [field.unseen_target for field in drifts],
            f"Missing, {before}": [field.missing_source for field in drifts],
            f"Missing, {after}": [field.missing_target for field in drifts],
        }
    )
    shares = {
        name: st.column_config.NumberColumn(format="percent")
        for name in table.columns
        if "," in name
    }
    st.dataframe(
        table,
        hide_index=True,
        height=400,
        column_config={"Index": st.column_config.NumberColumn(format="%.3f"), **shares},
        alt=(
            "Drift, unseen and missing shares of each field"
            if judged
            else "Unseen and missing shares of each field"
        ),
    )


def describe_drift(drifts: Sequence[FieldDrift], compared_rows: str) -> str:
    """Describe the drift in a sentence."""
    fields_by_level = {
        level: [field.field for field in drifts if field.level == level]
        for level in ("strong", "some")
    }
    parts = [
        f"{word} in {len(fields_by_level[level])} ({', '.join(fields_by_level[level])})"
        for level, word in (("strong", "strongly"), ("some", "somewhat"))
        if fields_by_level[level]
    ]
    if not parts:
        return f"No field differs much {compared_rows}."
    return f"Values differ {compared_rows}: {' and '.join(parts)} of {len(drifts)} fields."
