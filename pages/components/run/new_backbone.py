"""The result of a finished pretraining run: its metrics and links to the new backbone."""

import streamlit as st

from core.jobs.store import Run
from core.models.backbone_store import list_backbones
from core.models.card import BackboneCard
from core.models.objectives import OBJECTIVES
from pages.components.shared.backbone_text import (
    explain_missing_click_head,
    show_pretraining_metrics,
)
from pages.components.shared.common import workspace
from pages.components.shared.stack import draw_stages


def show_new_backbone(run: Run) -> None:
    """Show a sentence, the objective's metrics if clicks were not trained on, and links."""
    assert run.result is not None
    card = next(
        (
            backbone
            for backbone in list_backbones(workspace())
            if backbone.id == run.result.backbone
        ),
        None,
    )
    objective = run.objective
    texts = {
        "supervised": (
            "This run trained a new backbone, so there is no earlier one to compare with."
        ),
        "none": (
            "This run made a backbone without training it: its stages keep their initial weights."
        ),
    }
    trained = (
        "This run trained a new backbone on the features of source rows, without their "
        "click labels."
    )
    st.info(texts.get(objective, trained), icon=":material/info:")
    if card is None:
        st.caption("The backbone has been deleted since.")
        return
    if objective == "supervised":
        show_links(card)
        return
    words, picture = st.columns([5, 6], gap="medium")
    with words:
        if learnt := run.result.learnt:
            trains = OBJECTIVES[objective].trains
            st.markdown(
                "**Pretraining metrics** :gray[· on source validation rows]"
                if trains
                else "**Initial weights**"
            )
            show_pretraining_metrics(learnt)
        st.markdown(explain_missing_click_head(card))
        show_links(card)
    with picture, st.container(border=True):
        draw_stages(card.stages)


def show_links(card: BackboneCard) -> None:
    """Draw links to the next steps."""
    with st.container(horizontal=True):
        st.page_link(
            "finetune.py",
            label="Fine-tune it",
            icon=":material/ac_unit:",
            query_params={"backbone": card.id},
        )
        st.page_link(
            "backbones.py",
            label="Show it on the shelf",
            icon=":material/stacks:",
            query_params={"section": "Shelf", "shelf_find": card.name},
        )
