"""Data: choose or bring in a sample, look at it, split it into domains, prepare a dataset, see how its target drifts."""

import shlex
from collections.abc import Sequence
from typing import TypeVar

import pandas as pd
import streamlit as st

from core.data.datasets import Dataset, delete_dataset, list_datasets, prepare, preview_split
from core.data.preprocessing import DEFAULT_MIN_COUNT
from core.data.profile import QUANTILES, ColumnProfile, drift, profile_columns
from core.data.samples import Sample, delete_sample, list_samples, read_rows
from core.data.schema import DIALECTS, FIELDS
from core.data.split import PartSummary, SplitSpec, check_parts
from core.errors import ThawError
from core.report.data_figures import column_figure, drift_figure, part_title, parts_figure
from pages.components.add_sample import add_sample
from pages.components.chart import chart
from pages.components.common import (
    command_hint,
    count,
    decimals,
    errors_shown,
    escape_markdown,
    percent,
    short_count,
    show_error,
    simulated_badge,
    when,
    workspace,
)

PREVIEW_ROWS = 50
METHODS = {"order": "Row order (time)", "column": "Value of a column (segment)", "random": "At random"}
MISSING_VALUE = "(missing)"

Item = TypeVar("Item", Sample, Dataset)


def choose(items: Sequence[Item], kind: str, key: str) -> Item:
    """The sample or dataset that the URL names, else the newest; choosing another one changes the URL."""
    ids = [item.id for item in items]
    names = {
        item.id: f"{item.name}{' · simulated' if item.simulated else ''} · {count(item.rows)} rows" for item in items
    }
    asked = st.session_state.pop(f"choose_{kind}", None) or st.query_params.get(kind)
    if asked and asked not in ids:
        st.warning(f"There is no {kind} {asked[:40]!r} here (any more); this is the newest one.")
    st.session_state[key] = asked if asked in ids else ids[0]

    def follow() -> None:
        st.query_params[kind] = st.session_state[key]

    chosen = st.selectbox(kind.capitalize(), ids, format_func=names.get, key=key, on_change=follow)
    st.query_params[kind] = chosen
    return items[ids.index(chosen)]


def report(sample: Sample) -> None:
    """What the file is and what was found wrong with it."""
    dialect = DIALECTS[sample.dialect]
    with st.grid(4, min_column_width=150):
        st.metric("Rows", count(sample.rows), border=True)
        st.metric("Click rate", percent(sample.click_rate, 2), border=True, help="Share of rows with the label 1.")
        st.metric("Bad rows skipped", count(sample.bad_rows), border=True)
        st.metric("Container", sample.container, border=True)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{dialect.title}**: {escape_markdown(sample.reason)}", width="stretch")
        if sample.simulated:
            simulated_badge()
    if not sample.labelled:
        st.info(
            "These rows have no label (39 columns): a finished run can score them, but nothing can be trained or "
            "measured on them.",
            icon=":material/info:",
        )
    if sample.bad_rows:
        with st.expander(f"{count(sample.bad_rows)} bad rows were skipped", icon=":material/warning:"):
            st.markdown("\n".join(f"- {escape_markdown(example)}" for example in sample.bad_examples))


@st.cache_data(max_entries=8, show_spinner=False)
def profiles_of(sample_id: str, created: str, _sample: Sample) -> tuple[ColumnProfile, ...]:
    """The sample's column profiles; kept on disk, and here as long as the sample is the same."""
    return profile_columns(_sample)


@st.cache_data(max_entries=8, show_spinner=False)
def first_rows(sample_id: str, created: str, _sample: Sample) -> pd.DataFrame:
    """The first rows as a table."""
    return read_rows(_sample, limit=PREVIEW_ROWS).to_pandas()


@st.cache_data(max_entries=32, show_spinner=False)
def preview(sample_id: str, created: str, spec: SplitSpec, _sample: Sample) -> tuple[PartSummary, ...]:
    """Rows and clicks of each part under `spec`."""
    return preview_split(_sample, spec)


@st.cache_data(max_entries=8, show_spinner=False)
def drift_table(content_hash: str, _dataset: Dataset) -> pd.DataFrame:
    """The fields of a dataset by falling drift."""
    moved = sorted(drift(workspace(), _dataset), key=lambda field: field.psi, reverse=True)
    return pd.DataFrame(
        {
            "Field": [field.field for field in moved],
            "Index": [field.psi for field in moved],
            "Drift": [field.level for field in moved],
            "Unseen, source": [field.unseen_source for field in moved],
            "Unseen, target": [field.unseen_target for field in moved],
            "Missing, source": [field.missing_source for field in moved],
            "Missing, target": [field.missing_target for field in moved],
        }
    )
