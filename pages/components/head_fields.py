"""The fields of a new head."""

import streamlit as st

from core.models.card import ACTIVATIONS, OUTPUTS, HeadSettings
from pages.components.training_fields import parse_widths

OUTPUT_WORDS = {"logit": "one logit", "softmax": "two classes"}


def head_fields(prefix: str) -> HeadSettings:
    """Draws the fields and returns what they say; BadInput for what cannot be used. prefix: of the widget keys."""
    with st.grid(3, min_column_width=150):
        hidden = st.text_input(
            "Hidden layers",
            placeholder="none",
            key=f"{prefix}_hidden",
            persist_state="session",
            help="Widths such as 64, 32; empty for a single layer. Xavier-initialised.",
        )
        activation = st.selectbox(
            "Activation",
            ACTIVATIONS,
            key=f"{prefix}_activation",
            persist_state="session",
            help="Between the head's hidden layers; without hidden layers it does nothing.",
        )
        output = st.selectbox(
            "Output",
            [*OUTPUTS],
            format_func=OUTPUT_WORDS.__getitem__,
            key=f"{prefix}_output",
            persist_state="session",
            help="; ".join(OUTPUTS.values()).capitalize() + ".",
        )
    return HeadSettings(parse_widths(hidden, "The hidden layers"), activation, output)
