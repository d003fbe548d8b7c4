"""Backbones page: the pretrained networks stage by stage, and pretraining a new one.

The page also shows what a backbone knows of a dataset.
"""

import streamlit as st

from core.data.datasets import list_datasets
from core.jobs.store import RunStore
from core.models.backbone_store import list_backbones
from pages.components.backbones.backbone_shelf import backbone_shelf
from pages.components.backbones.pretrain_form import pretrain_form
from pages.components.backbones.vocabulary_check import vocabulary_check
from pages.components.shared import url_state
from pages.components.shared.common import workspace
from pages.components.shared.errors import catch_errors

SHELF, CHECK, PRETRAIN = SECTIONS = ("Shelf", "Vocabulary check", "Pretrain")


def set_url(**parameters: str) -> None:
    """Set URL parameters of this page; the next rerun shows what they stand for."""
    for name, value in parameters.items():
        url_state.put(name, value)


def open_check(backbone: str) -> None:
    """Open the vocabulary check of a backbone."""
    set_url(section=CHECK, backbone=backbone)


def prefill(dataset: str, architecture: str) -> None:
    """Open the pretraining form for a dataset's source rows."""
    st.session_state["pt_architecture"] = architecture
    set_url(section=PRETRAIN, dataset=dataset)


st.title("Backbones")
st.markdown("Pretrained networks, stage by stage: a stage is the smallest unit that freezes.")
with catch_errors():
    all_cards = list_backbones(workspace())
    all_datasets = list_datasets(workspace())
    url_state.restore_choice("section", SECTIONS)
    section = st.segmented_control(
        "Section",
        SECTIONS,
        required=True,
        key="section",
        on_change=url_state.save_choice,
        args=("section",),
        label_visibility="collapsed",
        help=(
            "What the page shows: the backbones there are, or the form for a new one. It "
            "changes no result."
        ),
    )
    if section == CHECK:
        vocabulary_check(all_cards, all_datasets, prefill)
    elif section == PRETRAIN:
        waiting = [run for run in RunStore(workspace()).list(kind="pretrain") if run.active]
        pretrain_form(
            all_datasets,
            {card.name for card in all_cards} | {run.pretrain_request.name for run in waiting},
        )
    else:
        backbone_shelf(all_cards, set_url, open_check)
