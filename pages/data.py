"""Data: bring in a sample, look at it, split it into domains, prepare a dataset, see how its target
drifts."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import pandas as pd
import streamlit as st

from core.data.datasets import Dataset, list_datasets
from core.data.describe_dataset import describe_files, describe_min_count
from core.data.profile import (
    QUANTILES,
    ColumnProfile,
    FieldDrift,
    explain_too_few_rows,
    measure_drift,
    profile_columns,
)
from core.data.samples import Sample, list_samples, read_sample_rows
from core.data.schema import DIALECTS, FIELDS
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
from pages.components.shared.access import guarded_button
from pages.components.shared.chart import chart
from pages.components.shared.common import (
    MISSING_TEXT,
    catch_errors,
    escape_markdown,
    format_datetime,
    format_int,
    format_percent,
    show_command,
    show_open_commands,
    simulated_badge,
    workspace,
)
from pages.components.shared.compute_slots import compute_slot
from pages.components.shared.drift import drift_view

PREVIEW_ROWS = 50
VIEWS = ("Sample", "Split", "Datasets")
WAYS = {"one": "From one sample", "several": "From several files"}
SIMULATED = " · simulated"

Item = TypeVar("Item", bound=Sample | Dataset)


def choose(
    items: Sequence[Item], kind: str, view: str, remove: Callable[[Item], None] | None = None
) -> Item:
    """The sample or dataset that the URL names, else the one last chosen, else the newest; choosing
    changes the URL.

    remove: draws the button that deletes the chosen one, beside it.
    """
    ids = [item.id for item in items]
    names = {
        item.id: f"{item.name}{SIMULATED if item.simulated else ''} · {format_int(item.rows)} rows"
        for item in items
    }
    key = f"{kind}-{view}"
    asked = st.session_state.pop(f"choose_{kind}", None) or st.query_params.get(kind)
    if asked and asked not in ids:
        st.warning(
            f"There is no {kind} {escape_markdown(asked[:40])} here (any more); another one is"
            " shown."
        )
    wanted = asked or st.session_state.get(f"last_{kind}")
    st.session_state[key] = wanted if wanted in ids else ids[0]

    def follow() -> None:
        st.query_params[kind] = st.session_state[key]

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
    if st.query_params.get(kind) != chosen:
        st.query_params[kind] = chosen
    for other in ({"sample": "dataset", "dataset": "sample"}[kind], *ROLES):
        st.query_params.pop(other, None)
    st.session_state[f"last_{kind}"] = chosen
    return items[ids.index(chosen)]


def report(sample: Sample) -> None:
    """What the file is and what was found wrong with it."""
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
    if facts := reading_facts(sample):
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


def reading_facts(sample: Sample) -> list[str]:
    """How the file was read, where that is not plain, in Markdown."""
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
def profiles_of(sample_id: str, created: str, _sample: Sample) -> tuple[ColumnProfile, ...]:
    """The sample's column profiles; kept on disk, and here as long as the sample is the same."""
    with compute_slot():
        return profile_columns(_sample)


@st.cache_data(max_entries=8, show_spinner=False)
def first_rows(sample_id: str, created: str, _sample: Sample) -> pd.DataFrame:
    """The first rows as a table."""
    return read_sample_rows(_sample, limit=PREVIEW_ROWS).to_pandas()


@st.cache_data(max_entries=8, show_spinner=False)
def drift_of(content_hash: str, _dataset: Dataset) -> tuple[FieldDrift, ...]:
    """How the dataset's target has moved, per field."""
    with compute_slot():
        return measure_drift(workspace(), _dataset)


def columns_table(profiles: Sequence[ColumnProfile], rows: int) -> None:
    """All 39 columns at a glance."""
    table = pd.DataFrame(
        {
            "Column": [profile.name for profile in profiles],
            "Missing": [profile.missing_share for profile in profiles],
            "Distinct values": [profile.cardinality for profile in profiles],
            "Commonest": [
                profile.top_values[0][0] if profile.top_values else None for profile in profiles
            ],
            "Its share": [
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
            "Its share": st.column_config.NumberColumn(format="percent"),
            "Median": st.column_config.NumberColumn(format="localized"),
            "99th percentile": st.column_config.NumberColumn(format="localized"),
        },
        alt="Missing share, distinct values and commonest value of each column",
    )


@st.fragment
def one_column(profiles: Sequence[ColumnProfile], rows: int) -> None:
    """One column's numbers and distribution."""
    name = st.selectbox(
        "Column to look at",
        FIELDS,
        key="look_at",
        help="Whose values the figures show. It changes no result.",
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
            alt=f"How the values of {name} spread",
        )


def look(sample: Sample) -> None:
    """Columns and first rows."""
    with st.spinner("Looking at the columns"):
        profiles = profiles_of(sample.id, sample.created, sample)
    columns, rows = st.tabs(["Columns", "First rows"], key="look")
    with columns, st.grid(2, min_column_width=330):
        with st.container():
            columns_table(profiles, sample.rows)
        with st.container():
            one_column(profiles, sample.rows)
    with rows:
        first = first_rows(sample.id, sample.created, sample)
        st.dataframe(first, placeholder=MISSING_TEXT, alt="The first rows of the sample")
        st.caption(
            f"The first {min(PREVIEW_ROWS, sample.rows)} of {format_int(sample.rows)} rows, in file"
            " order."
        )
    show_command(f"{PROGRAM} profile --sample {sample.id} --first-rows {PREVIEW_ROWS}")


def remove_sample(sample: Sample) -> None:
    """Deletes a sample when told twice; not under a run that needs it."""
    with st.popover("Delete", icon=":material/delete:", key="delete_sample"):
        st.markdown(
            f"Delete the sample **{escape_markdown(sample.name)}**? Datasets prepared from it stay,"
            " but can no longer be read by a backbone they have not met yet."
        )
        if guarded_button("Delete the sample", type="primary", key="delete_sample_really"):
            with catch_errors():
                delete_unused_sample(workspace(), sample)
                st.query_params.pop("sample", None)
                st.rerun()
        show_open_commands(f"{PROGRAM} delete --sample {sample.id}")


def remove_dataset(dataset: Dataset) -> None:
    """Deletes a dataset when told twice; not under a run that needs it."""
    with st.popover("Delete", icon=":material/delete:", key="delete_dataset"):
        st.markdown(
            f"Delete the dataset **{escape_markdown(dataset.name)}**? Its runs keep their results."
        )
        if guarded_button("Delete the dataset", type="primary", key="delete_dataset_really"):
            with catch_errors():
                delete_unused_dataset(workspace(), dataset)
                st.query_params.pop("dataset", None)
                st.rerun()
        show_open_commands(f"{PROGRAM} delete --dataset {dataset.id}")


def show_dataset(dataset: Dataset) -> None:
    """Its split, its parts, what to do with it, and its drift."""
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
        asked = {"dataset": dataset.id}
        if dataset.labelled:
            st.page_link(
                "finetune.py",
                label="Fine-tune on it",
                icon=":material/ac_unit:",
                query_params=asked,
            )
        if dataset.has_source:
            label = "Pretrain a backbone on it"
            st.page_link("backbones.py", label=label, icon=":material/stacks:", query_params=asked)
    if not dataset.labelled:
        return
    st.subheader("Source against target", anchor="drift")
    if dataset.has_source:
        show_drift(dataset)
    else:
        st.info(
            "This dataset has no source domain, so there is nothing to compare its target with."
        )


def show_drift(dataset: Dataset) -> None:
    """The fields by falling drift, as bars and as a table."""
    rows = {part.part: part.rows for part in dataset.parts}
    drift_view(
        drift_of(dataset.content_hash, dataset),
        "between the source and the target training rows",
        ("source", "target"),
        "in the source those too rare to be in it",
        explain_too_few_rows(
            rows["source_train"], rows["target_train"], ("source training", "target training")
        ),
    )
    show_command(f"{PROGRAM} drift --dataset {dataset.id}")


def sample_view(samples: Sequence[Sample]) -> None:
    """Choose or add a sample, and look at it."""
    if not samples:
        st.markdown(
            "There is no sample yet. Upload Criteo rows, name a file on this machine, or simulate"
            " some."
        )
        add_sample()
        return
    sample = choose(samples, "sample", "look", remove_sample)
    with st.expander(
        "Add another sample", icon=":material/add:", key="adding", on_change="rerun"
    ) as adding:
        if adding.open:
            add_sample()
    report(sample)
    label = "Split it into domains" if sample.labelled else "Prepare it for pretraining"
    st.button(
        label,
        type="primary",
        icon=":material/call_split:",
        on_click=go_to,
        args=("Split",),
        key="go_split",
    )
    look(sample)


def split_view(samples: Sequence[Sample]) -> None:
    """Choose a sample, or several, split, and prepare a dataset."""
    if not samples:
        st.markdown("There is no sample to split yet. Add one first.")
        st.button(
            "Add a sample", icon=":material/add:", on_click=go_to, args=("Sample",), key="go_sample"
        )
        return
    way = st.segmented_control(
        "Make the dataset",
        [*WAYS],
        format_func=WAYS.__getitem__,
        default="several" if "target" in st.query_params else "one",
        required=True,
        key="split_way",
        help=(
            "One sample is split into source and target. Several files each have their part: last"
            " month's file can be the source and this week's the target, and a test file can stay a"
            " test file."
        ),
    )
    if way == "several":
        st.query_params.pop("sample", None)
        st.query_params.pop("dataset", None)
        files_form(samples)
        return
    sample = choose(samples, "sample", "split")
    if sample.simulated:
        simulated_badge()
    if sample.labelled:
        split_form(sample, profiles_of(sample.id, sample.created, sample))
    else:
        unlabelled_form(sample)


def datasets_view(datasets: Sequence[Dataset]) -> None:
    """Choose a dataset, and look at it."""
    if not datasets:
        st.markdown("There is no dataset yet. Split a sample and prepare it.")
        st.button(
            "Split a sample",
            icon=":material/call_split:",
            on_click=go_to,
            args=("Split",),
            key="go_split",
        )
        return
    show_dataset(choose(datasets, "dataset", "look", remove_dataset))


def go_to(view: str) -> None:
    """Opens a tab; for a button's on_click."""
    st.session_state.view = view


st.title("Data")
st.markdown(
    "A sample is a file as it was given. Split into source and target, alone or with others, it"
    " becomes a dataset."
)
if added := st.session_state.pop("added", None):
    go_to("Sample")
    st.session_state.adding = False
    st.toast(f"{escape_markdown(added)} is added.", icon=":material/check_circle:")
if "choose_dataset" in st.session_state or (
    "view" not in st.session_state and "dataset" in st.query_params
):
    go_to("Datasets")
if "view" not in st.session_state and "target" in st.query_params:
    go_to("Split")
tabs = st.tabs(VIEWS, key="view", on_change="rerun")
samples = list_samples(workspace())
if tabs[0].open:
    with tabs[0]:
        sample_view(samples)
if tabs[1].open:
    with tabs[1]:
        split_view(samples)
if tabs[2].open:
    with tabs[2]:
        datasets_view(list_datasets(workspace()))
