"""Splitting a sample into domains and parts, with what comes of it shown before anything is prepared."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import pandas as pd
import streamlit as st

from core.data.datasets import Dataset, prepare, preview_split
from core.data.preprocessing import DEFAULT_MIN_COUNT
from core.data.profile import ColumnProfile
from core.data.samples import Sample
from core.data.schema import FIELDS
from core.data.split import PartSummary, SplitSpec, check_parts
from core.report.data_figures import part_title, parts_figure
from pages.components.access import write_button
from pages.components.add_sample import progress
from pages.components.chart import chart
from pages.components.common import command_hint, errors_shown, escape_markdown, percent, workspace

METHODS = {"order": "Row order (time)", "column": "Value of a column (segment)", "random": "At random"}
_SHARES = {
    "target_test_share": ("Target test", "Of the target rows: they test every run, and choose nothing."),
    "target_validation_share": ("Target validation", "Of the other target rows: they choose epoch and threshold."),
    "source_test_share": ("Source test", "Of the source rows: they show what fine-tuning forgot."),
    "source_validation_share": ("Source validation", "Of the other source rows: they choose the epoch in pretraining."),
}


@st.fragment
def split_form(sample: Sample, profiles: Sequence[ColumnProfile]) -> None:
    """Split, preview and prepare; ends by choosing the new dataset."""
    values = _domains(sample, profiles)
    with st.expander("Test and validation shares, minimum count", icon=":material/tune:"):
        values |= _shares(sample)
        min_count = _min_count(sample)
    if values["method"] == "column" and not values["target_values"]:
        st.info(f"Choose the values of {values['column']} that mean target.", icon=":material/arrow_upward:")
        return
    with errors_shown():
        spec = SplitSpec(**values)
        parts = preview(sample.id, sample.created, spec, sample)
        parts_preview(parts, key="preview")
        check_parts(parts)
        _prepare(sample, spec, min_count)


@st.fragment
def unlabelled_form(sample: Sample) -> None:
    """Preview and prepare for rows without labels; ends by choosing the new dataset."""
    st.markdown(
        "These rows have no label, so there is no target domain to tell apart: **all rows become source rows**, for "
        "pretraining a backbone by RFD or MFP, which read no labels."
    )
    title, help_text = _SHARES["source_validation_share"]
    start = round(100 * SplitSpec().source_validation_share)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = st.slider(
            title, 1, 90, start, format="%d %%", key=f"unlabelled-{sample.id}", help=help_text, width=420
        )
        min_count = _min_count(sample)
    with errors_shown():
        spec = SplitSpec(source_validation_share=chosen / 100)
        parts = preview(sample.id, sample.created, spec, sample)
        parts_preview(parts, key="preview")
        check_parts(parts)
        _prepare(sample, spec, min_count)


@st.cache_data(max_entries=32, show_spinner=False)
def preview(sample_id: str, created: str, spec: SplitSpec, _sample: Sample) -> tuple[PartSummary, ...]:
    """Rows and clicks of each part under `spec`."""
    return preview_split(_sample, spec)


def parts_preview(parts: Sequence[PartSummary], key: str) -> None:
    """The parts as a table and as bars, side by side."""
    shown = [part for part in parts if part.rows]
    total = sum(part.rows for part in shown)
    table = pd.DataFrame(
        {
            "Part": [part_title(part.part) for part in shown],
            "Rows": [part.rows for part in shown],
            "Share": [100 * part.rows / total for part in shown],
        }
    )
    labelled = all(part.clicks is not None for part in shown)
    if labelled:
        table["Clicks"] = [part.clicks for part in shown]
        table["Click rate"] = [100 * (part.click_rate or 0.0) for part in shown]
    with st.grid(2, min_column_width=320):
        st.dataframe(
            table,
            hide_index=True,
            column_config={
                "Rows": st.column_config.NumberColumn(format="localized"),
                "Clicks": st.column_config.NumberColumn(format="localized"),
                "Share": st.column_config.NumberColumn(format="%.1f %%"),
                "Click rate": st.column_config.NumberColumn(format="%.1f %%"),
            },
            alt="Rows, clicks and click rate of each part" if labelled else "Rows of each part",
        )
        alt = "Rows and click rate of each part" if labelled else "Rows of each part"
        chart(parts_figure(shown), key=f"{key}-parts", height=260, alt=alt, modebar=False)


def ingest_command(sample: Sample, spec: SplitSpec, name: str, min_count: int) -> str:
    """The command that takes the sample's file in and prepares the same dataset; defaults are left out."""
    words = ["python", "-m", "core", "ingest", sample.source, "--name", name]
    words += ["--simulated"] if sample.simulated else []
    words += ["--on-bad-rows", "skip"] if sample.id.endswith("-skip") else []
    default = SplitSpec()
    for field in fields(SplitSpec):
        value = getattr(spec, field.name)
        if value != getattr(default, field.name):
            flag = {"method": "--split", "seed": "--split-seed"}.get(field.name, f"--{field.name.replace('_', '-')}")
            words += [flag, ",".join(value) if isinstance(value, tuple) else str(value)]
    words += ["--min-count", str(min_count)] if min_count != DEFAULT_MIN_COUNT else []
    return shlex.join(words)


def describe_split(spec: SplitSpec, labelled: bool = True) -> str:
    """The split in a sentence, in Markdown."""
    if not labelled:
        return "No labels: all rows are source rows, for pretraining by RFD or MFP."
    if spec.method == "column":
        # Not between backticks: a value may hold one, and what stands behind it would be Markdown.
        values = ", ".join(f"“{escape_markdown(value)}”" if value else "missing" for value in spec.target_values)
        return f"Target: rows whose {spec.column} is {values}; inside each domain by row order."
    if not spec.source_share:
        return "All rows are target rows: there is no source domain."
    how = "the first" if spec.method == "order" else "at random"
    seed = f" (seed {spec.seed})" if spec.method == "random" else ""
    return f"Source: {how} {percent(spec.source_share, 0)} of the rows{seed}; target: the rest."


def _domains(sample: Sample, profiles: Sequence[ColumnProfile]) -> dict[str, Any]:
    """The fields of SplitSpec that say which rows are target rows."""
    method = st.segmented_control(
        "What tells target rows from source rows",
        [*METHODS],
        format_func=METHODS.__getitem__,
        default="order",
        required=True,
        key=f"method-{sample.id}",
        help="By order the last rows are the target, by value those you name; at random both are alike.",
    )
    if method == "column":
        return {"method": method} | _column_values(sample, profiles)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        share = st.slider(
            "Source rows", 0, 95, 60, step=5, format="%d %%", key=f"source-{sample.id}", width=420,
            help="The first rows in the file (or, at random, as many of them). 0 % means no source domain.",
        )  # fmt: skip
        seed = 0
        if method == "random":
            seed = st.number_input(
                "Seed",
                0,
                2**31 - 1,
                0,
                key=f"seed-{sample.id}",
                width=140,
                help="Which rows chance puts where: the same seed gives the same split.",
            )
    return {"method": method, "source_share": share / 100, "seed": seed}


def _column_values(sample: Sample, profiles: Sequence[ColumnProfile]) -> dict[str, Any]:
    """Column and values, offered from the column's commonest ones; any other may be typed."""
    few = min(profiles, key=lambda profile: (profile.cardinality < 2, profile.cardinality)).name
    with st.container(horizontal=True, vertical_alignment="bottom"):
        column = st.selectbox(
            "Column",
            FIELDS,
            FIELDS.index(few),
            key=f"column-{sample.id}",
            width=130,
            help="Its value says whether a row is source or target.",
        )
        profile = profiles[FIELDS.index(column)]
        shares = {value: rows / sample.rows for value, rows in profile.top_values}
        if profile.missing_share:
            shares[""] = profile.missing_share
        offered = sorted(shares, key=lambda value: -shares[value])
        chosen = st.multiselect(
            "Values that mean target",
            offered,
            format_func=lambda value: f"{value or 'missing'} · {shares[value]:.1%}" if value in shares else value,
            key=f"values-{sample.id}-{column}",
            placeholder="Choose or type values",
            accept_new_options=True,
            width=520,
            help="Rows with one of these values become the target domain, all others the source.",
        )
    return {"column": column, "target_values": tuple(chosen)}


def _shares(sample: Sample) -> dict[str, float]:
    default, values = SplitSpec(), {}
    with st.grid(2, min_column_width=260):
        for name, (title, help_text) in _SHARES.items():
            start = round(100 * getattr(default, name))
            chosen = st.slider(title, 1, 90, start, format="%d %%", key=f"{name}-{sample.id}", help=help_text)
            values[name] = chosen / 100
    return values


def _min_count(sample: Sample) -> int:
    return st.number_input(
        "Minimum count",
        1,
        100_000,
        DEFAULT_MIN_COUNT,
        key=f"min_count-{sample.id}",
        help="A value seen in fewer training rows shares one embedding with all other rare values.",
        width=200,
    )


def _prepare(sample: Sample, spec: SplitSpec, min_count: int) -> None:
    suffix = {"order": "by row order", "column": f"by {spec.column}", "random": f"at random, seed {spec.seed}"}
    about = suffix[spec.method] if sample.labelled else "no labels"
    default = re.sub(r"\W+$", "", f"{sample.name[:36]}, {about}")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.text_input(
            "Name of the dataset",
            default,
            key=f"dataset-name-{default}",
            width=420,
            help="What lists and commands call it; it changes no result.",
        )
        pressed = write_button("Prepare the dataset", type="primary", icon=":material/dataset:", key="prepare")
    if pressed:
        dataset = _run_prepare(sample, spec, name, min_count)
        st.session_state.choose_dataset = dataset.id
        st.toast(f"{escape_markdown(dataset.name)} is ready.", icon=":material/check_circle:")
        st.rerun()
    command_hint(ingest_command(sample, spec, name, min_count))


def _run_prepare(sample: Sample, spec: SplitSpec, name: str, min_count: int) -> Dataset:
    bar = st.progress(0.0, "Fitting on training rows")
    try:
        return prepare(
            workspace(), sample, spec, name, min_count, progress(bar, "Fitting on training rows, encoding all")
        )
    finally:
        bar.empty()
