"""Splitting a sample into domains and parts, with what comes of it shown before anything is
prepared."""

import dataclasses
import re
import shlex
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from core.data.columns.value_counts import count_column as count_values
from core.data.datasets import Dataset, count_fitted_rows, prepare
from core.data.preprocessing import default_min_count
from core.data.profile import N_TOP_VALUES, ColumnProfile
from core.data.samples import Sample, read_dictionary_table
from core.data.schema import FIELDS
from core.data.split import PartSummary, SplitSpec, unlabelled_spec
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
from pages.components.shared.common import (
    bullet_list,
    catch_errors,
    escape_markdown,
    format_percent,
    show_command,
    show_error,
    workspace,
)
from pages.components.shared.compute_slots import compute_slot

METHODS = {
    "order": "Row order (time)",
    "column": "Value of a column (segment)",
    "random": "At random",
}
_SHARE_FIELDS = {
    "target_test_share": (
        "Target test",
        "Of the target rows: they test every run, and choose nothing.",
    ),
    "target_validation_share": (
        "Target validation",
        "Of the other target rows: they choose epoch and threshold.",
    ),
    "source_test_share": ("Source test", "Of the source rows: they show what fine-tuning forgot."),
    "source_validation_share": (
        "Source validation",
        "Of the other source rows: they choose the epoch in pretraining.",
    ),
}


@st.fragment
def split_form(sample: Sample, profiles: Sequence[ColumnProfile]) -> None:
    """Split, preview and prepare; ends by choosing the new dataset."""
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
            f"Choose the values of {values['column']} that mean target.",
            icon=":material/arrow_upward:",
        )
    if split and show_split(split, lambda remedy: _apply_remedy(sample, remedy)):
        _prepare(sample, spec, min_count)


@st.fragment
def unlabelled_form(sample: Sample) -> None:
    """Preview and prepare for rows without labels; ends by choosing the new dataset."""
    st.markdown(
        "These rows have no label, so there is no target domain to tell apart: **all rows become"
        " source rows**, for pretraining a backbone by RFD or MFP, which read no labels."
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
    """What `spec` makes of the sample, without the rows' own parts."""
    with compute_slot():
        return drop_row_arrays(plan_split(_sample, spec))


def drop_row_arrays(split: Split) -> Split:
    """The split without what it says of every single row: small enough to be kept."""
    nothing = np.empty(0, np.int8)
    return dataclasses.replace(split, parts=nothing, order=nothing)


def show_split(split: Split, apply_remedy: Callable[[SplitSpec], None] | None = None) -> bool:
    """Parts, what was changed, or why it cannot be prepared; whether it can.

    follow: puts the split that a refusal recommends into the form.
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


def format_sentences(said: Sequence[str]) -> str:
    """Sentences in Markdown: a list where there are several."""
    return bullet_list(said) if len(said) > 1 else escape_markdown("".join(said))


def show_parts(parts: Sequence[PartSummary], key: str) -> None:
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


def ingest_command(sample: Sample, spec: SplitSpec, name: str, min_count: int | None) -> str:
    """The command that takes the sample's file in and prepares the same dataset; defaults are left
    out.

    min_count: None for the default.
    """
    read = [*COMMAND, "ingest", sample.source, "--name", name, *reading_flags(sample)]
    return shlex.join([*read, *split_flags(spec, min_count)])


def describe_split(spec: SplitSpec, labelled: bool = True) -> str:
    """The split in a sentence, in Markdown."""
    if not labelled:
        return "No labels: all rows are source rows, for pretraining by RFD or MFP."
    if spec.method == "column":
        # Not between backticks: a value may hold one, and what stands behind it would be Markdown.
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
    """The fields of SplitSpec that say which rows are target rows."""
    key = f"method-{sample.id}"
    # Not as its default: `_follow` sets it too.
    st.session_state.setdefault(key, "order")
    method = st.segmented_control(
        "What tells target rows from source rows",
        [*METHODS],
        format_func=METHODS.__getitem__,
        required=True,
        key=key,
        help=(
            "By order the last rows are the target, by value those you name; at random both are"
            " alike."
        ),
    )
    if method == "column":
        return {"method": method} | _column_values(sample, profiles)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        share = st.slider(
            "Source rows", 0, 95, 60, step=5, format="%d %%", key=f"source-{sample.id}", width=420,
            help="The first rows in the file (or, at random, as many of them). 0 % means no source domain.",
        )  # fmt: skip
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
        help="Which rows chance puts where: the same seed gives the same split.",
    )


def _apply_remedy(sample: Sample, remedy: SplitSpec) -> None:
    """Puts the method or the shuffling of `remedy` into the form: a button's on_click."""
    if remedy.method == "column":
        st.session_state[f"shuffle-{sample.id}"] = True
    else:
        st.session_state[f"method-{sample.id}"] = remedy.method


def _column_values(sample: Sample, profiles: Sequence[ColumnProfile]) -> dict[str, Any]:
    """Column and values, offered from the column's commonest ones; any other may be typed."""
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
            "Values that mean target",
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
    """((value, rows) of the commonest values of a column beside the 39 fields, falling; the share
    of missing ones)."""
    with compute_slot():
        counts = count_values(read_dictionary_table(_sample)[column])
    values, rows = counts.most_common(N_TOP_VALUES)
    top = tuple(
        (str(value), int(number)) for value, number in zip(values.to_pylist(), rows, strict=True)
    )
    return top, counts.missing / max(_sample.rows, 1)


def share_fields(key: str, without: Collection[str] = ()) -> dict[str, Any]:
    """Sliders for the shares of test and validation rows. without: parts whose rows are a file of
    their own."""
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
    """Whether rows are shuffled inside each domain before they are cut, and the seed."""
    with st.container(horizontal=True, vertical_alignment="center"):
        shuffle = st.toggle(
            "Shuffle the rows first",
            key=f"shuffle-{key}",
            help=(
                "Off, the last rows of a domain or file test: right for rows in time order. On, any"
                " rows do: right for a file sorted by label."
            ),
        )
        return {"shuffle": shuffle, "seed": _seed(key) if shuffle else 0}


def min_count_field(key: str, split: Split | None) -> int | None:
    """The minimum count; None where it is the default of the training rows that the split gives."""
    rows = count_fitted_rows(split.summaries) if split else 0
    default = default_min_count(rows) if rows else default_min_count(10**6)
    chosen = st.number_input(
        "Minimum count",
        1,
        100_000,
        default,
        # A key of its own for each default: a number that was typed stays as long as the default
        # does.
        key=f"min_count-{key}-{default}",
        help=(
            "A value seen in fewer training rows shares one embedding with all other rare values."
            " It starts at 10, with few training rows at 5 (below 5,000) or 2 (below 2,000), which"
            " would else leave nearly no value known."
        ),
        width=200,
    )
    return None if chosen == default else chosen


def prepare_button(default: str) -> tuple[str, bool]:
    """(the name of the dataset, whether it is to be prepared now)."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.text_input(
            "Name of the dataset",
            default,
            key=f"dataset-name-{default}",
            width=420,
            help="What lists and commands call it; it changes no result.",
        )
        return name, guarded_button(
            "Prepare the dataset", type="primary", icon=":material/dataset:", key="prepare"
        )


def run_prepare(make: Callable[[Callable[[float], None]], Dataset]) -> None:
    """Prepares a dataset with a bar, and shows it."""
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
    about = suffix[spec.method] if sample.labelled else "no labels"
    about = re.sub(r"[^\w .()+%=,-]", " ", about)[:24]
    wanted = re.sub(r"\W+$", "", f"{sample.name[:36]}, {about}")
    stored = spec if sample.labelled else unlabelled_spec(spec)
    name, pressed = prepare_button(propose_dataset_name(wanted, {"": sample}, stored, min_count))
    with catch_errors():
        if pressed:
            run_prepare(lambda report: prepare(workspace(), sample, spec, name, min_count, report))
        show_command(ingest_command(sample, spec, name, min_count))
