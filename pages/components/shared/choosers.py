"""Select boxes for datasets, backbones and other things by name, with the choice in the URL."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

import streamlit as st

from core.data.datasets import Dataset, list_datasets
from core.models.backbone_store import list_backbones
from core.models.card import BackboneCard
from core.models.objectives import OBJECTIVES
from pages.components.shared import url_state
from pages.components.shared.common import simulated_badge, workspace
from pages.components.shared.formatting import (
    escape_inline,
    escape_markdown,
    format_compact,
    format_int,
)
from pages.components.shared.stack import has_random_weights


class Named(Protocol):
    """A dataset or a backbone."""

    @property
    def id(self) -> str: ...

    @property
    def name(self) -> str: ...


N = TypeVar("N", bound=Named)

HELP = {
    "Dataset": (
        "The rows that are used, split as the dataset was prepared. Results on different datasets"
        " are on different rows."
    ),
    "Backbone": "The pretrained network whose stages are frozen or trained.",
}


def datasets_and_backbones() -> tuple[list[Dataset], list[BackboneCard]] | None:
    """Return labelled datasets and all backbones; if either is missing, say so and return None."""
    datasets = [dataset for dataset in list_datasets(workspace()) if dataset.labelled]
    cards = list_backbones(workspace())
    if not datasets:
        st.info(
            "There is no dataset with labels yet. Add a Criteo sample, or simulate one.",
            icon=":material/table_chart:",
        )
        st.page_link("data.py", label="Prepare a dataset", icon=":material/table_chart:")
        return None
    if not cards:
        st.info(
            "There is no backbone yet. Pretrain one on the source rows of a dataset.",
            icon=":material/stacks:",
        )
        st.page_link(
            "backbones.py",
            label="Pretrain a backbone",
            icon=":material/stacks:",
            query_params={"section": "Pretrain"},
        )
        return None
    return datasets, cards


def choose_text(label: str, options: Sequence[str], key: str, help_text: str) -> str:
    """Draw a select box over `options`, the first by default; the URL carries ``?key=OPTION``."""
    url_state.restore_choice(key, options)
    return st.selectbox(
        label, options, key=key, on_change=url_state.save_choice, args=(key,), help=help_text
    )


def choose_named(label: str, items: Sequence[N], key: str) -> N:
    """Draw a select box over the names of `items`; the URL carries ``?key=NAME`` or the id.

    If the URL names none of them, a warning says so and the previous choice stays.

    Args:
        items: at least one.
    """
    by_name: dict[str, N] = {}
    for item in items:
        by_name[f"{item.name} ({item.id})" if item.name in by_name else item.name] = item
    ids = {item.id: name for name, item in by_name.items()}
    unknown = url_state.restore_choice(key, [*by_name], ids)
    if unknown is not None:
        st.warning(
            f"There is no {label.lower()} {escape_inline(repr(unknown[:64]))} in this workspace;"
            f" showing {st.session_state[key]!r}."
        )
    name = st.selectbox(
        label,
        [*by_name],
        key=key,
        on_change=url_state.save_choice,
        args=(key,),
        persist_state="session",
        help=HELP[label],
    )
    return by_name[name]


def choose_dataset_and_backbone(
    datasets: Sequence[Dataset], cards: Sequence[BackboneCard]
) -> tuple[Dataset, BackboneCard]:
    """Draw both select boxes side by side, each with a caption; the URL carries both choices."""
    left, right = st.columns(2, gap="medium")
    with left:
        dataset = choose_named("Dataset", datasets, "dataset")
        rows = {part.part: part.rows for part in dataset.parts}
        choice_caption(
            # Together, as the validation share of the settings divides them anew.
            f"{format_int(rows['target_train'] + rows['target_validation'])} target rows to train"
            f" and validate on, {format_int(rows['target_test'])} to test on",
            dataset.simulated,
        )
    with right:
        card = choose_named("Backbone", cards, "backbone")
        trained = OBJECTIVES[card.objective].trains
        choice_caption(
            f"{len(card.stages)} stages, {format_compact(card.parameters)} parameters,"
            f" {'trained on' if trained else 'built for the vocabulary of'}"
            f" {escape_markdown(card.trained_on['dataset'])}",
            card.trained_on["simulated"],
            any(has_random_weights(stage) for stage in card.stages),
        )
    return dataset, card


def choice_caption(text: str, simulated: bool, random_weights: bool = False) -> None:
    """Draw a caption below a select box, with badges for what must not be overlooked."""
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
        st.caption(text, width="content")
        if simulated:
            simulated_badge()
        if random_weights:
            st.badge("random weights", icon=":material/casino:", color="red")
