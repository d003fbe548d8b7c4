"""The form for a dataset from several samples, with a preview.

Each sample has a role: source, target, validation or test.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import streamlit as st

from core.data.dataset_files import SampleRole, check_files, concat_rows
from core.data.describe_dataset import describe_duplicates
from core.data.duplicates import Duplicates, count_duplicates
from core.data.prepare import prepare_files
from core.data.samples import Sample
from core.data.split import DOMAINS, FILE_ROLES, SplitSpec
from core.data.split_adjust import Split
from core.data.split_plan import file_split_spec, plan_files
from core.runs.reproduce import prepare_command
from pages.components.data.dataset_name import propose_dataset_name
from pages.components.data.split_form import (
    drop_row_arrays,
    format_sentences,
    min_count_field,
    prepare_button,
    run_prepare,
    share_fields,
    show_split,
    shuffle_fields,
)
from pages.components.shared import url_state
from pages.components.shared.common import show_command, simulated_badge, workspace
from pages.components.shared.compute_slots import compute_slot
from pages.components.shared.errors import catch_errors
from pages.components.shared.formatting import escape_inline, format_int

NO_FILE = "none"
"""In the URL, for a role without a file."""


@dataclass(frozen=True)
class Role:
    """Texts of one of FILE_ROLES.

    Attributes:
        if_absent: what happens if the role has no file; empty if it must have one.
    """

    title: str
    help: str
    if_absent: str = ""


ROLES = {
    "source": Role(
        "Source",
        "Plentiful rows to pretrain on, such as last month's file. The vocabulary is fitted on"
        " them.",
        "none",
    ),
    "target": Role("Target", "Rows to fine-tune on, such as this week's file."),
    "target_validation": Role(
        "Target validation",
        "Rows used to choose the epoch and the threshold.",
        "cut from the target",
    ),
    "target_test": Role(
        "Target test",
        "Rows used to test every run, and never to choose anything.",
        "cut from the target",
    ),
    "source_validation": Role(
        "Source validation", "Rows used to choose the epoch in pretraining.", "cut from the source"
    ),
    "source_test": Role(
        "Source test", "Rows used to measure what fine-tuning forgot.", "cut from the source"
    ),
}


def files_form(samples: Sequence[Sample]) -> None:
    """Draw the form: files, preview and the prepare button. The URL carries the choice.

    Args:
        samples: all samples, newest first.
    """
    labelled = [sample for sample in samples if sample.labelled]
    if len(labelled) < 2:
        st.info(
            "A dataset of several files needs two samples with labels; add another one first.",
            icon=":material/add:",
        )
        return
    files = _choose_files(labelled)
    if any(sample.simulated for sample in files.values()):
        simulated_badge()
    _cut_form(files)


def _choose_files(samples: Sequence[Sample]) -> dict[str, Sample]:
    """Return the chosen samples by role.

    By default the oldest is the source and the newest the target.
    """
    by_id = {sample.id: sample for sample in samples}
    chosen: dict[str, str] = {}
    for domain, column in zip(DOMAINS, st.columns(2), strict=True):
        for role in (role for role in FILE_ROLES if role.startswith(domain)):
            ids = [*by_id][::-1] if role == "source" else [*by_id]
            options = (
                [*ids, NO_FILE]
                if role == "source"
                else [NO_FILE, *ids]
                if ROLES[role].if_absent
                else ids
            )
            if (unknown := url_state.restore_choice(role, options)) is not None:
                st.warning(
                    f"There is no sample {escape_inline(repr(unknown[:40]))} with labels in "
                    "this workspace; another one is shown."
                )
            chosen[role] = column.selectbox(
                ROLES[role].title,
                options,
                format_func=partial(_format_option, by_id, role),
                key=role,
                on_change=_save_role,
                args=(role,),
                help=ROLES[role].help,
            )
            _save_role(role)
    return {role: by_id[sample_id] for role, sample_id in chosen.items() if sample_id != NO_FILE}


def _save_role(role: str) -> None:
    """Write the role's sample to the URL, which decides at the next rerun."""
    url_state.write(role, st.session_state[role], "" if role in DOMAINS else NO_FILE)


def _format_option(by_id: Mapping[str, Sample], role: str, sample_id: str) -> str:
    if sample_id == NO_FILE:
        return f"– {ROLES[role].if_absent} –"
    return f"{by_id[sample_id].name} · {format_int(by_id[sample_id].rows)} rows"


@st.fragment
def _cut_form(files: dict[str, Sample]) -> None:
    with catch_errors():
        files = check_files(files)
        with st.expander(
            "Test and validation shares, shuffling, minimum count", icon=":material/tune:"
        ):
            without = (
                [*files] if "source" in files else [*files, "source_test", "source_validation"]
            )
            spec = file_split_spec(
                SplitSpec(**(share_fields("files", without) | shuffle_fields("files")))
            )
            known = tuple((role, sample.id, sample.created) for role, sample in files.items())
            split, duplicates = cached_files_split(known, spec, files)
            min_count = min_count_field("files", split)
        ready = show_split(split, _shuffle)
        roles = [
            SampleRole(role, sample.id, sample.name, sample.rows) for role, sample in files.items()
        ]
        show_duplicates(roles, duplicates)
        if ready:
            _prepare(files, spec, min_count)


def show_duplicates(roles: Sequence[SampleRole], duplicates: Sequence[Duplicates]) -> None:
    """Show the number of duplicate rows, or that there are none.

    Nothing is shown for a dataset of one sample.
    """
    text = format_sentences(describe_duplicates(roles, duplicates))
    if duplicates:
        st.warning(text, icon=":material/content_copy:")
    elif text:
        st.caption(text)


@st.cache_data(max_entries=16, show_spinner="Reading the rows of all files")
def cached_files_split(
    known: tuple[tuple[str, str, str], ...], spec: SplitSpec, _files: dict[str, Sample]
) -> tuple[Split, tuple[Duplicates, ...]]:
    """Return (the split of the files without per-row arrays, duplicate rows).

    Args:
        known: (role, sample id, creation time) of every file; the cache key.
    """
    with compute_slot():
        split = plan_files(_files, spec)
        rows = [(role, sample.rows) for role, sample in _files.items()]
        return drop_row_arrays(split), count_duplicates(
            concat_rows([*_files.values()]), split.parts, rows
        )


def _shuffle(remedy: SplitSpec) -> None:
    """Put the shuffling of `remedy` into the form; a button's on_click."""
    st.session_state["shuffle-files"] = remedy.shuffle


def _prepare(files: Mapping[str, Sample], spec: SplitSpec, min_count: int | None) -> None:
    domains = [files[role].name[:28] for role in ("source", "target") if role in files]
    proposal = re.sub(r"\W+$", "", " to ".join(domains))
    name, pressed = prepare_button(
        propose_dataset_name(proposal, files, file_split_spec(spec), min_count)
    )
    if pressed:
        run_prepare(lambda report: prepare_files(workspace(), files, spec, name, min_count, report))
    names = [sample.name for sample in files.values()]
    # A name that two samples share does not identify either of them.
    sample_by_role = {
        role: one.name if names.count(one.name) == 1 else one.id for role, one in files.items()
    }
    show_command(prepare_command(sample_by_role, spec, name, min_count))
