"""Data page: add a sample, inspect it, split it into domains, and prepare a dataset.

The page also shows the drift of the dataset's target.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import pandas as pd
import streamlit as st

from core.data.datasets import Dataset, list_datasets
from core.data.describe_dataset import describe_files, describe_min_count
from core.data.drift import FieldDrift, explain_too_few_rows, measure_drift
from core.data.profile import QUANTILES, ColumnProfile, profile_columns
from core.data.samples import Sample, list_samples, read_sample_rows
from core.data.schema import DIALECTS, FIELDS
from core.evaluation.format_metrics import MISSING_TEXT
from core.program import PROGRAM
from core.report.data_figures import column_figure
from core.runs.removal import delete_unused_dataset, delete_unused_sample
from pages.components.data.add_sample import add_sample
from pages.components.data.files_form import ROLES, files_form, show_duplicates
from pages.components.data.split_form import (
    describe_split,
    format_sentences,
    show_parts,
    split_form,
    unlabelled_form,
)
from pages.components.shared import url_state
from pages.components.shared.access import guarded_button
from pages.components.shared.chart import chart
from pages.components.shared.common import (
    show_command,
    show_open_commands,
    simulated_badge,
    workspace,
)
from pages.components.shared.compute_slots import compute_slot
from pages.components.shared.drift import drift_view
from pages.components.shared.errors import catch_errors
from pages.components.shared.formatting import (
    escape_markdown,
    format_datetime,
    format_int,
    format_percent,
)

PREVIEW_ROWS = 50
VIEWS = ("Sample", "Split", "Datasets")
WAYS = {"one": "From one sample", "several": "From several files"}
SIMULATED = " · simulated"

Item = TypeVar("Item", bound=Sample | Dataset)


def choose_item(
    items: Sequence[Item], kind: str, view: str, remove: Callable[[Item], None] | None = None
) -> Item:
    """Return the sample or dataset in the URL, else the last chosen one, else the newest.

    Args:
        kind: "sample" or "dataset", which is also the URL parameter.
        view: distinguishes the select boxes of different tabs.
        remove: draws the delete button next to the box.
    """
    ids = [item.id for item in items]
    names = {
        item.id: f"{item.name}{SIMULATED if item.simulated else ''} · {format_int(item.rows)} rows"
        for item in items
    }
    key = f"{kind}-{view}"
    requested = st.session_state.pop(f"choose_{kind}", None) or url_state.get(kind)
    if requested and requested not in ids:
        st.warning(
            f"There is no {kind} {escape_markdown(requested[:40])} in this workspace (any more); "
            "another one is shown."
        )
    preferred = requested or st.session_state.get(f"last_{kind}")
    st.session_state[key] = preferred if preferred in ids else ids[0]

    def follow() -> None:
        url_state.put(kind, st.session_state[key])

    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = st.selectbox(
            kind.capitalize(),
            ids,
            format_func=names.__getitem__,
            key=key,
            on_change=follow,
            help=f"The {kind} that this page shows. It changes no result.",
        )
        if remove:
            remove(items[ids.index(chosen)])
    url_state.put(kind, chosen)
    url_state.remove({"sample": "dataset", "dataset": "sample"}[kind], *ROLES)
    st.session_state[f"last_{kind}"] = chosen
    return items[ids.index(chosen)]


def show_summary(sample: Sample) -> None:
    """Show what the file is and what was wrong with it."""
    dialect = DIALECTS[sample.dialect]
    with st.grid(4, min_column_width=150):
        st.metric("Rows", format_int(sample.rows), border=True)
        st.metric(
            "Click rate",
            format_percent(sample.click_rate, 2),
            border=True,
            help="Share of rows with the label 1.",
        )
        st.metric("Bad rows skipped", format_int(sample.bad_rows), border=True)
        st.metric("Container", sample.container, border=True)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{dialect.title}**: {escape_markdown(sample.reason)}", width="stretch")
        if sample.simulated:
            simulated_badge()
    if not sample.labelled:
        st.info(
            "These rows have no label (39 columns): a finished run can score them, and a backbone"
            " can be pretrained on them by RFD or MFP; nothing can be fine-tuned or measured on"
            " them.",
            icon=":material/info:",
        )
    for note in sample.notes:
        st.info(escape_markdown(note), icon=":material/info:")
    if facts := describe_reading(sample):
        st.caption(" · ".join(facts))
    if sample.bad_rows:
        title = (
            f"{format_int(sample.bad_rows)} bad rows were skipped"
            if sample.bad_rows > 1
            else "1 bad row was skipped"
        )
        with st.expander(title, icon=":material/warning:"):
            st.markdown(
                "\n".join(f"- {escape_markdown(example)}" for example in sample.bad_examples)
            )


def describe_reading(sample: Sample) -> list[str]:
    """Describe how the file was read if that is not obvious, as Markdown."""
    facts = []
    if sample.missing_markers:
        markers = ", ".join(
            f"“{escape_markdown(text)}” ({format_int(cells)} cells)"
            for text, cells in sample.missing_markers
        )
        facts.append(f"Read as missing, beside empty cells: {markers}")
    if renamed := [(ours, theirs) for ours, theirs in sample.columns if theirs]:
        shown = ", ".join(f"{ours} from {escape_markdown(theirs)}" for ours, theirs in renamed[:4])
        facts.append(
            f"Columns: {shown}" + (f" and {len(renamed) - 4} more" if len(renamed) > 4 else "")
        )
    if sample.id_column:
        facts.append(f"Identifier of a row: {escape_markdown(sample.id_column)}")
    if sample.kept:
        facts.append(f"Kept for splits and slices: {escape_markdown(', '.join(sample.kept))}")
    return facts


@st.cache_data(max_entries=8, show_spinner=False)
def cached_profiles(sample_id: str, created: str, _sample: Sample) -> tuple[ColumnProfile, ...]:
    """Return the sample's column profiles.

    They are stored on disk, and cached here while the sample is the same.
    """
    with compute_slot():
        return profile_columns(_sample)


@st.cache_data(max_entries=8, show_spinner=False)
def cached_first_rows(sample_id: str, created: str, _sample: Sample) -> pd.DataFrame:
    """Return the first rows as a table."""
    return read_sample_rows(_sample, limit=PREVIEW_ROWS).to_pandas()


@st.cache_data(max_entries=8, show_spinner=False)
def cached_drift(content_hash: str, _dataset: Dataset) -> tuple[FieldDrift, ...]:
    """Return the drift of the dataset's target, by field."""
    with compute_slot():
        return measure_drift(workspace(), _dataset)


def show_columns_table(profiles: Sequence[ColumnProfile], rows: int) -> None:
    """Show all 39 columns in one table."""
    table = pd.DataFrame(
        {
            "Column": [profile.name for profile in profiles],
            "Missing": [profile.missing_share for profile in profiles],
            "Distinct values": [profile.cardinality for profile in profiles],
            "Most frequent value": [
                profile.top_values[0][0] if profile.top_values else None for profile in profiles
            ],
            "Share": [
                profile.top_values[0][1] / rows if profile.top_values else None
                for profile in profiles
            ],
            "Median": [profile.quantiles[3] if profile.quantiles else None for profile in profiles],
            "99th percentile": [
                profile.quantiles[5] if profile.quantiles else None for profile in profiles
            ],
        }
    )
    st.dataframe(
        table,
        hide_index=True,
        height=425,
        placeholder=MISSING_TEXT,
        column_config={
            "Missing": st.column_config.ProgressColumn(
                format="percent", min_value=0, max_value=1, color="blue"
            ),
            "Distinct values": st.column_config.NumberColumn(format="localized"),
            "Share": st.column_config.NumberColumn(format="percent"),
            "Median": st.column_config.NumberColumn(format="localized"),
            "99th percentile": st.column_config.NumberColumn(format="localized"),
        },
        alt="Missing share, distinct values and most frequent value of each column",
    )


@st.fragment
def show_column(profiles: Sequence[ColumnProfile], rows: int) -> None:
    """Show one column's numbers and distribution."""
    name = st.selectbox(
        "Column",
        FIELDS,
        key="look_at",
        help="The column whose values are shown. It changes no result.",
    )
    profile = profiles[FIELDS.index(name)]
    missing = (
        f"missing {format_percent(profile.missing_share)}"
        if profile.missing_share
        else "never missing"
    )
    facts = [missing, f"{format_int(profile.cardinality)} distinct values"]
    if profile.quantiles:
        quantiles = dict(zip(QUANTILES, profile.quantiles, strict=True))
        facts += [f"median {quantiles[0.5]:,g}", f"99th percentile {quantiles[0.99]:,g}"]
        facts += [f"from {quantiles[0.0]:,g} to {quantiles[1.0]:,g}"]
    st.caption(" · ".join(facts))
    if profile.missing_share == 1:
        st.info(f"Every value of {name} is missing.", icon=":material/info:")
    else:
        chart(
            column_figure(profile, rows),
            key="column",
            height=345,
            alt=f"Distribution of the values of {name} spread",
        )


def show_columns_and_rows(sample: Sample) -> None:
    """Show the columns and the first rows."""
    with st.spinner("Profiling the columns"):
        profiles = cached_profiles(sample.id, sample.created, sample)
    columns, rows = st.tabs(["Columns", "First rows"], key="look")
    with columns, st.grid(2, min_column_width=330):
        with st.container():
            show_columns_table(profiles, sample.rows)
        with st.container():
            show_column(profiles, sample.rows)
    with rows:
        first = cached_first_rows(sample.id, sample.created, sample)
        st.dataframe(first, placeholder=MISSING_TEXT, alt="The first rows of the sample")
        st.caption(
            f"The first {min(PREVIEW_ROWS, sample.rows)} of {format_int(sample.rows)} rows, "
            "in file order."
        )
    show_command(f"{PROGRAM} profile --sample {sample.id} --first-rows {PREVIEW_ROWS}")


def remove_sample(sample: Sample) -> None:
    """Delete a sample after confirmation, unless a run needs it."""
    with st.popover("Delete", icon=":material/delete:", key="delete_sample"):
        st.markdown(
            f"Delete the sample **{escape_markdown(sample.name)}**? Datasets prepared from "
            "it are kept, but can no longer be encoded for a backbone that has not been "
            "used with them yet."
        )
        if guarded_button("Delete the sample", type="primary", key="delete_sample_really"):
            with catch_errors():
                delete_unused_sample(workspace(), sample)
                url_state.remove("sample")
                st.rerun()
        show_open_commands(f"{PROGRAM} delete --sample {sample.id}")


def remove_dataset(dataset: Dataset) -> None:
    """Delete a dataset after confirmation, unless a run needs it."""
    with st.popover("Delete", icon=":material/delete:", key="delete_dataset"):
        st.markdown(
            f"Delete the dataset **{escape_markdown(dataset.name)}**? Its runs keep their results."
        )
        if guarded_button("Delete the dataset", type="primary", key="delete_dataset_really"):
            with catch_errors():
                delete_unused_dataset(workspace(), dataset)
                url_state.remove("dataset")
                st.rerun()
        show_open_commands(f"{PROGRAM} delete --dataset {dataset.id}")


def show_dataset(dataset: Dataset) -> None:
    """Show the dataset's split, its parts, links to the next steps, and its drift."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(describe_split(dataset.spec, dataset.labelled), width="stretch")
        if dataset.simulated:
            simulated_badge()
    show_parts(dataset.parts, key="dataset")
    if dataset.notes:
        st.info(format_sentences(dataset.notes), icon=":material/info:")
    show_duplicates(dataset.samples, dataset.duplicates)
    origin = (
        describe_files(dataset.samples)
        if dataset.samples
        else f"From the sample {dataset.sample_name}."
    )
    st.caption(
        f"{escape_markdown(origin)} Prepared {format_datetime(dataset.created)}."
        f" {describe_min_count(dataset.min_count, dataset.fitted_rows)} · content hash"
        f" {dataset.content_hash[:16]}"
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        parameters = {"dataset": dataset.id}
        if dataset.labelled:
            st.page_link(
                "finetune.py",
                label="Fine-tune on it",
                icon=":material/ac_unit:",
                query_params=parameters,
            )
        if dataset.has_source:
            label = "Pretrain a backbone on it"
            st.page_link(
                "backbones.py", label=label, icon=":material/stacks:", query_params=parameters
            )
    if not dataset.labelled:
        return
    st.subheader("Source and target", anchor="drift")
    if dataset.has_source:
        show_drift(dataset)
    else:
        st.info(
            "This dataset has no source domain, so there is nothing to compare the target with."
        )


def show_drift(dataset: Dataset) -> None:
    """Show the fields, those that drifted most first."""
    rows = {part.part: part.rows for part in dataset.parts}
    drift_view(
        cached_drift(dataset.content_hash, dataset),
        "between the source and the target training rows",
        ("source", "target"),
        "in the source, values too rare to be in it",
        explain_too_few_rows(
            rows["source_train"], rows["target_train"], ("source training", "target training")
        ),
    )
    show_command(f"{PROGRAM} drift --dataset {dataset.id}")


def show_sample_tab(samples: Sequence[Sample]) -> None:
    """Choose or add a sample, and show it."""
    if not samples:
        st.markdown(
            "There is no sample yet. Upload Criteo rows, give the path of a file on this "
            "machine, or simulate rows."
        )
        add_sample()
        return
    sample = choose_item(samples, "sample", "look", remove_sample)
    with st.expander(
        "Add another sample", icon=":material/add:", key="adding", on_change="rerun"
    ) as adding:
        if adding.open:
            add_sample()
    show_summary(sample)
    label = "Split it into domains" if sample.labelled else "Prepare it for pretraining"
    st.button(
        label,
        type="primary",
        icon=":material/call_split:",
        on_click=open_tab,
        args=("Split",),
        key="go_split",
    )
    show_columns_and_rows(sample)


def show_split_tab(samples: Sequence[Sample]) -> None:
    """Choose one or several samples, split them, and prepare a dataset."""
    if not samples:
        st.markdown("There is no sample to split yet. Add one first.")
        st.button(
            "Add a sample",
            icon=":material/add:",
            on_click=open_tab,
            args=("Sample",),
            key="go_sample",
        )
        return
    way = st.segmented_control(
        "Make the dataset",
        [*WAYS],
        format_func=WAYS.__getitem__,
        default="several" if url_state.get("target") else "one",
        required=True,
        key="split_way",
        help=(
            "One sample is split into source and target. With several files, each has its "
            "own role: last month's file can be the source and this week's the target, and "
            "a test file can stay a test file."
        ),
    )
    if way == "several":
        url_state.remove("sample", "dataset")
        files_form(samples)
        return
    sample = choose_item(samples, "sample", "split")
    if sample.simulated:
        simulated_badge()
    if sample.labelled:
        split_form(sample, cached_profiles(sample.id, sample.created, sample))
    else:
        unlabelled_form(sample)


def show_datasets_tab(datasets: Sequence[Dataset]) -> None:
    """Choose a dataset and show it."""
    if not datasets:
        st.markdown("There is no dataset yet. Split a sample and prepare it.")
        st.button(
            "Split a sample",
            icon=":material/call_split:",
            on_click=open_tab,
            args=("Split",),
            key="go_split",
        )
        return
    show_dataset(choose_item(datasets, "dataset", "look", remove_dataset))


def open_tab(view: str) -> None:
    """Open a tab; for a button's on_click."""
    st.session_state.view = view


st.title("Data")
st.markdown(
    "A sample is a file as imported. Split into source and target, alone or together with "
    "other samples, it becomes a dataset."
)
if added := st.session_state.pop("added", None):
    open_tab("Sample")
    st.session_state.adding = False
    st.toast(f"{escape_markdown(added)} is added.", icon=":material/check_circle:")
if "choose_dataset" in st.session_state or (
    "view" not in st.session_state and url_state.get("dataset")
):
    open_tab("Datasets")
if "view" not in st.session_state and url_state.get("target"):
    open_tab("Split")
tabs = st.tabs(VIEWS, key="view", on_change="rerun")
samples = list_samples(workspace())
if tabs[0].open:
    with tabs[0]:
        show_sample_tab(samples)
if tabs[1].open:
    with tabs[1]:
        show_split_tab(samples)
if tabs[2].open:
    with tabs[2]:
        show_datasets_tab(list_datasets(workspace()))
