"""The split of a sample into domains and parts, previewed before the dataset is prepared."""

import dataclasses
import re
import shlex
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from core.data.columns.value_counts import count_column as count_values
from core.data.datasets import Dataset, count_fitted_rows
from core.data.prepare import prepare
from core.data.preprocessing import default_min_count
from core.data.profile import N_TOP_VALUES, ColumnProfile
from core.data.samples import Sample, read_dictionary_table
from core.data.schema import FIELDS
from core.data.split import (
    SAMPLE_SPLIT_METHODS,
    SPLIT_METHODS,
    PartSummary,
    SplitSpec,
    unlabelled_spec,
)
from core.data.split_adjust import Split
from core.data.split_plan import plan_split
from core.errors import BadInput
from core.program import COMMAND
from core.report.data_figures import part_title, parts_figure
from core.runs.reproduce import reading_flags, split_flags
from pages.components.data.add_sample import progress_callback
from pages.components.data.dataset_name import propose_dataset_name
from pages.components.shared.access import guarded_button
from pages.components.shared.chart import chart
from pages.components.shared.common import NAME_HELP, show_command, workspace
from pages.components.shared.compute_slots import compute_slot
from pages.components.shared.errors import catch_errors, show_error
from pages.components.shared.formatting import bullet_list, escape_markdown, format_percent

_SHARE_FIELDS = {
    "target_test_share": (
        "Target test",
        "Share of the target rows. They test every run and are never used to choose anything.",
    ),
    "target_validation_share": (
        "Target validation",
        "Share of the remaining target rows. They are used to choose the epoch and the threshold.",
    ),
    "source_test_share": (
        "Source test",
        "Share of the source rows. They measure what fine-tuning forgot.",
    ),
    "source_validation_share": (
        "Source validation",
        "Share of the remaining source rows. They are used to choose the epoch in pretraining.",
    ),
}


@st.fragment
def split_form(sample: Sample, profiles: Sequence[ColumnProfile]) -> None:
    """Draw split, preview and the prepare button; afterwards the new dataset is selected."""
    values = _domains(sample, profiles)
    ready = values["method"] != "column" or bool(values["target_values"])
    with st.expander("Test and validation shares, minimum count", icon=":material/tune:"):
        values |= share_fields(sample.id)
        if values["method"] == "column":
            values |= shuffle_fields(sample.id)
        split, min_count = None, None
        if ready:
            with catch_errors():
                spec = SplitSpec(**values)
                split = cached_split(sample.id, sample.created, spec, sample)
        min_count = min_count_field(sample.id, split)
    if not ready:
        st.info(
            f"Choose the values of {values['column']} that mark target rows.",
            icon=":material/arrow_upward:",
        )
    if split and show_split(split, lambda remedy: _apply_remedy(sample, remedy)):
        _prepare(sample, spec, min_count)


@st.fragment
def unlabelled_form(sample: Sample) -> None:
    """Draw preview and the prepare button for rows without labels."""
    st.markdown(
        "These rows have no label, so there is no target domain: **all rows become source "
        "rows**, for pretraining a backbone by RFD or MFP, which need no labels."
    )
    title, help_text = _SHARE_FIELDS["source_validation_share"]
    start = round(100 * SplitSpec().source_validation_share)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = st.slider(
            title,
            1,
            90,
            start,
            format="%d %%",
            key=f"unlabelled-{sample.id}",
            help=help_text,
            width=420,
        )
        spec = SplitSpec(source_validation_share=chosen / 100)
        split = cached_split(sample.id, sample.created, spec, sample)
        min_count = min_count_field(sample.id, split)
    if show_split(split):
        _prepare(sample, spec, min_count)


@st.cache_data(max_entries=32, show_spinner=False)
def cached_split(sample_id: str, created: str, spec: SplitSpec, _sample: Sample) -> Split:
    """Return the split that `spec` makes of the sample, without per-row arrays."""
    with compute_slot():
        return drop_row_arrays(plan_split(_sample, spec))


def drop_row_arrays(split: Split) -> Split:
    """Return the split without its per-row arrays, small enough to cache."""
    nothing = np.empty(0, np.int8)
    return dataclasses.replace(split, parts=nothing, order=nothing)


def show_split(split: Split, apply_remedy: Callable[[SplitSpec], None] | None = None) -> bool:
    """Show the parts, adjustments, or why the split cannot be used.

    Args:
        apply_remedy: puts a recommended split into the form.

    Returns:
        Whether the dataset can be prepared.
    """
    show_parts(split.summaries, key="preview")
    if split.notes:
        st.info(format_sentences(split.notes), icon=":material/info:")
    if not split.refusal:
        return True
    show_error(BadInput(split.refusal))
    if split.remedy and apply_remedy:
        label = (
            "Use the random split" if split.remedy.method == "random" else "Shuffle the rows first"
        )
        st.button(
            label,
            icon=":material/shuffle:",
            key="remedy",
            on_click=apply_remedy,
            args=(split.remedy,),
        )
    return False


def format_sentences(sentences: Sequence[str]) -> str:
    """Return the sentences as Markdown; a list if there are several."""
    return bullet_list(sentences) if len(sentences) > 1 else escape_markdown("".join(sentences))


def show_parts(parts: Sequence[PartSummary], key: str) -> None:
    """Show the parts as a table and as bars."""
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


def ingest_command(sample: Sample, spec: SplitSpec, name: str, min_count: int | None) -> str:
    """Return the command that ingests the sample's file and prepares the same dataset.

    Options with their default values are left out.

    Args:
        min_count: None for the default.
    """
    read = [*COMMAND, "ingest", sample.source, "--name", name, *reading_flags(sample)]
    return shlex.join([*read, *split_flags(spec, min_count)])


def describe_split(spec: SplitSpec, labelled: bool = True) -> str:
    """Describe the split in a sentence, as Markdown."""
    if not labelled:
        return "No labels: all rows are source rows, for pretraining by RFD or MFP."
    if spec.method == "column":
        # Not in backticks: a value may contain one, and what follows would be read as Markdown.
        values = ", ".join(
            f"“{escape_markdown(value)}”" if value else "missing" for value in spec.target_values
        )
        inside = f"shuffled (seed {spec.seed})" if spec.shuffle else "by row order"
        return (
            f"Target: rows whose {escape_markdown(spec.column)} is {values}; inside each domain"
            f" {inside}."
        )
    if spec.method == "files":
        inside = f"shuffled (seed {spec.seed})" if spec.shuffle else "in row order"
        return f"Each file has its part; inside a file, rows are cut {inside}."
    if not spec.source_share:
        return "All rows are target rows: there is no source domain."
    how = "the first" if spec.method == "order" else "at random"
    seed = f" (seed {spec.seed})" if spec.method == "random" else ""
    return (
        f"Source: {how} {format_percent(spec.source_share, 0)} of the rows{seed}; target: the rest."
    )


def _domains(sample: Sample, profiles: Sequence[ColumnProfile]) -> dict[str, Any]:
    """Draw the fields of SplitSpec that define target rows, and return their values."""
    key = f"method-{sample.id}"
    # Set the state, not a default: `_apply_remedy` sets it too, and Streamlit warns about both.
    st.session_state.setdefault(key, "order")
    method = st.segmented_control(
        "Choose target rows by",
        SAMPLE_SPLIT_METHODS,
        format_func=lambda name: SPLIT_METHODS[name].title,
        required=True,
        key=key,
        help=(
            "By order, the last rows become the target; by value, the rows with the values "
            "you choose; at random, both domains have the same distribution."
        ),
    )
    if method == "column":
        return {"method": method} | _column_values(sample, profiles)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        share = st.slider(
            "Source rows",
            0,
            95,
            60,
            step=5,
            format="%d %%",
            key=f"source-{sample.id}",
            width=420,
            help="The first rows in the file (at random: as many random rows). 0 % means no "
            "source domain.",
        )
        seed = _seed(sample.id) if method == "random" else 0
    return {"method": method, "source_share": share / 100, "seed": seed}


def _seed(key: str) -> int:
    return st.number_input(
        "Seed",
        0,
        2**31 - 1,
        0,
        key=f"seed-{key}",
        width=140,
        help="Random seed: the same seed gives the same split.",
    )


def _apply_remedy(sample: Sample, remedy: SplitSpec) -> None:
    """Put the method or shuffling of `remedy` into the form; a button's on_click."""
    if remedy.method == "column":
        st.session_state[f"shuffle-{sample.id}"] = True
    else:
        st.session_state[f"method-{sample.id}"] = remedy.method


def _column_values(sample: Sample, profiles: Sequence[ColumnProfile]) -> dict[str, Any]:
    """Return column and values; the most frequent ones are offered, any other can be typed."""
    few = min(profiles, key=lambda profile: (profile.cardinality < 2, profile.cardinality)).name
    columns = [*sample.kept, *FIELDS]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        column = st.selectbox(
            "Column",
            columns,
            0 if sample.kept else columns.index(few),
            key=f"column-{sample.id}",
            width=200 if sample.kept else 130,
            help="Its value says whether a row is source or target.",
        )
        if column in FIELDS:
            profile = profiles[FIELDS.index(column)]
            top_values, missing = profile.top_values, profile.missing_share
        else:
            top_values, missing = most_common_values(sample.id, sample.created, column, sample)
        shares = {value: rows / sample.rows for value, rows in top_values}
        if missing:
            shares[""] = missing
        offered = sorted(shares, key=lambda value: -shares[value])
        chosen = st.multiselect(
            "Target values",
            offered,
            format_func=lambda value: (
                f"{value or 'missing'} · {shares[value]:.1%}" if value in shares else value
            ),
            key=f"values-{sample.id}-{column}",
            placeholder="Choose or type values",
            accept_new_options=True,
            width=520,
            help="Rows with one of these values become the target domain, all others the source.",
        )
    return {"column": column, "target_values": tuple(chosen)}


@st.cache_data(max_entries=32, show_spinner="Counting the values")
def most_common_values(
    sample_id: str, created: str, column: str, _sample: Sample
) -> tuple[tuple[tuple[str, int], ...], float]:
    """Return the most frequent values of an extra column and its share of missing values.

    Returns:
        ((value, rows) of the most frequent values in descending order, share of missing values).
    """
    with compute_slot():
        counts = count_values(read_dictionary_table(_sample)[column])
    values, rows = counts.most_common(N_TOP_VALUES)
    top = tuple(
        (str(value), int(number)) for value, number in zip(values.to_pylist(), rows, strict=True)
    )
    return top, counts.missing / max(_sample.rows, 1)


def share_fields(key: str, without: Collection[str] = ()) -> dict[str, Any]:
    """Draw sliders for the shares of test and validation rows.

    Args:
        without: parts whose rows come from a file of their own.
    """
    default, values = SplitSpec(), dict[str, Any]()
    with st.grid(2, min_column_width=260):
        for name, (title, help_text) in _SHARE_FIELDS.items():
            if name.removesuffix("_share") in without:
                continue
            start = round(100 * getattr(default, name))
            chosen = st.slider(
                title, 1, 90, start, format="%d %%", key=f"{name}-{key}", help=help_text
            )
            values[name] = chosen / 100
    return values


def shuffle_fields(key: str) -> dict[str, Any]:
    """Draw the switch that shuffles the rows of each domain before cutting, and its seed."""
    with st.container(horizontal=True, vertical_alignment="center"):
        shuffle = st.toggle(
            "Shuffle the rows first",
            key=f"shuffle-{key}",
            help=(
                "Off: the last rows of each domain or file become test rows, right for rows "
                "in time order. On: random rows do, right for a file sorted by label."
            ),
        )
        return {"shuffle": shuffle, "seed": _seed(key) if shuffle else 0}


def min_count_field(key: str, split: Split | None) -> int | None:
    """Return the minimum count of a value.

    It is None if it equals the default for the split's training rows.
    """
    rows = count_fitted_rows(split.summaries) if split else 0
    default = default_min_count(rows) if rows else default_min_count(10**6)
    chosen = st.number_input(
        "Minimum count",
        1,
        100_000,
        default,
        # The key contains the default: a typed number is kept until the default changes.
        key=f"min_count-{key}-{default}",
        help=(
            "A value seen in fewer training rows shares one embedding with all other rare "
            "values. The default is 10, or with few training rows 5 (below 5,000) or 2 "
            "(below 2,000), since otherwise hardly any value would be known."
        ),
        width=200,
    )
    return None if chosen == default else chosen


def prepare_button(default: str) -> tuple[str, bool]:
    """Return (name of the dataset, whether the button was pressed)."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.text_input(
            "Name of the dataset",
            default,
            key=f"dataset-name-{default}",
            width=420,
            help=NAME_HELP,
        )
        return name, guarded_button(
            "Prepare the dataset", type="primary", icon=":material/dataset:", key="prepare"
        )


def run_prepare(make: Callable[[Callable[[float], None]], Dataset]) -> None:
    """Prepare a dataset with a progress bar, and select it."""
    bar = st.progress(0.0, "Fitting on training rows")
    try:
        dataset = make(progress_callback(bar, "Fitting on training rows, encoding all"))
    finally:
        bar.empty()
    st.session_state.choose_dataset = dataset.id
    st.toast(f"{escape_markdown(dataset.name)} is ready.", icon=":material/check_circle:")
    st.rerun()


def _prepare(sample: Sample, spec: SplitSpec, min_count: int | None) -> None:
    suffix = {
        "order": "by row order",
        "column": f"by {spec.column}",
        "random": f"at random, seed {spec.seed}",
    }
    description = suffix[spec.method] if sample.labelled else "no labels"
    description = re.sub(r"[^\w .()+%=,-]", " ", description)[:24]
    proposal = re.sub(r"\W+$", "", f"{sample.name[:36]}, {description}")
    stored = spec if sample.labelled else unlabelled_spec(spec)
    name, pressed = prepare_button(propose_dataset_name(proposal, {"": sample}, stored, min_count))
    with catch_errors():
        if pressed:
            run_prepare(lambda report: prepare(workspace(), sample, spec, name, min_count, report))
        show_command(ingest_command(sample, spec, name, min_count))
