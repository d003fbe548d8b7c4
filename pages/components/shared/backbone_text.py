"""What a backbone was trained for, in metrics and words: on its card and after its run."""

from collections.abc import Mapping

import streamlit as st

from core.evaluation.format_metrics import (
    format_metric,
)
from core.models.card import BackboneCard
from core.models.objectives import OBJECTIVES
from pages.components.shared.formatting import (
    escape_markdown,
    format_int,
)
from pages.components.shared.stack import has_random_weights


def show_pretraining_metrics(learnt: Mapping[str, float | None]) -> None:
    """Show metrics by title: integers as they are, everything else with four decimals."""
    with st.container(horizontal=True, gap="medium"):
        for title, value in learnt.items():
            text = format_int(value) if isinstance(value, int) else format_metric(value)
            st.metric(escape_markdown(f"{title[:1].upper()}{title[1:]}"), text, width="content")


def explain_missing_click_head(card: BackboneCard) -> str:
    """Say why the backbone cannot score clicks and what changes that."""
    if OBJECTIVES[card.objective].trains:
        return "It has no click head yet: fine-tune it to score clicks."
    if all(has_random_weights(stage) for stage in card.stages):
        return (
            "Not trained: every stage has random weights. A lower bound to compare "
            "pretraining with."
        )
    return "It was not trained on click labels: fine-tune it to score clicks."
