"""How far the fields of some rows have moved from those of earlier rows: in words, as bars and as a table."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from core.data.profile import FieldDrift
from core.report.data_figures import drift_figure
from pages.components.chart import chart


def drift_view(drifts: Sequence[FieldDrift], between: str, names: tuple[str, str], rare: str) -> None:
    """The fields by falling drift. between: "between the … and the … rows". names: of both, for heads of columns.

    rare: what unseen values of the earlier rows are.
    """
    drifts = sorted(drifts, key=lambda field: field.psi, reverse=True)
    before, after = names
    st.markdown(drift_words(drifts, between))
    table = pd.DataFrame(
        {
            "Field": [field.field for field in drifts],
            "Index": [field.psi for field in drifts],
            "Drift": [field.level for field in drifts],
            f"Unseen, {before}": [field.unseen_source for field in drifts],
            f"Unseen, {after}": [field.unseen_target for field in drifts],
            f"Missing, {before}": [field.missing_source for field in drifts],
            f"Missing, {after}": [field.missing_target for field in drifts],
        }
    )
    shares = {name: st.column_config.NumberColumn(format="percent") for name in table.columns if "," in name}
    with st.grid(2, min_column_width=330):
        figure = drift_figure(drifts, f"the {after}")
        chart(figure, key="drift", height=400, alt="The fields that moved most", modebar=False)
        st.dataframe(
            table,
            hide_index=True,
            height=400,
            column_config={"Index": st.column_config.NumberColumn(format="%.3f"), **shares},
            alt="Drift, unseen and missing shares of each field",
        )
    st.caption(
        "Index: population stability index over the field's values. Unseen: values the vocabulary, made of the "
        f"training rows it was fitted on, does not hold; {rare}."
    )


def drift_words(drifts: Sequence[FieldDrift], between: str) -> str:
    """The drift in a sentence."""
    named = {level: [field.field for field in drifts if field.level == level] for level in ("strong", "some")}
    parts = [
        f"{word} in {len(named[level])} ({', '.join(named[level])})"
        for level, word in (("strong", "strongly"), ("some", "somewhat"))
        if named[level]
    ]
    if not parts:
        return f"No field differs much {between}."
    return f"Values differ {between}: {' and '.join(parts)} of {len(drifts)} fields."
