"""The fields of a new head."""

import streamlit as st

from core.errors import BadInput
from core.models.card import ACTIVATIONS, OUTPUTS, HeadSettings
from pages.components.form_address import keep, left_out, news
from pages.components.heard import put
from pages.components.training_fields import parse_widths, suggest

OUTPUT_WORDS = {"logit": "one logit", "softmax": "two classes"}


def head_fields(prefix: str, usual: str = "logit") -> HeadSettings:
    """Draws the fields and returns what they say; BadInput for what cannot be used. The address
    carries the head.

    prefix: of the widget keys. usual: the output until the user chooses otherwise.
    """
    suggest(f"{prefix}_output", usual)
    _from_address(prefix)
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
    head = HeadSettings(parse_widths(hidden, "The hidden layers"), activation, output)
    keep("head", head_text(head), head_text(HeadSettings(output=usual)))
    return head


def head_text(head: HeadSettings) -> str:
    """The head in short, as in "64-32,relu,logit"."""
    return ",".join(["-".join(map(str, head.hidden)), head.activation, head.output])


def read_head(text: str) -> HeadSettings:
    """The head that `head_text` put in short; BadInput for what it would not write."""
    parts = text.split(",")
    if len(parts) != 3:
        raise BadInput("A head is written as 64-32,relu,logit.")
    return HeadSettings(
        parse_widths(parts[0].replace("-", ","), "The hidden layers"), parts[1], parts[2]
    )


def _from_address(prefix: str) -> None:
    """Fills the fields with what the address brings."""
    text = news("head")
    if text is None:
        return
    try:
        head = read_head(text)
    except BadInput as error:
        left_out(text, error)
        return
    put(f"{prefix}_hidden", ", ".join(map(str, head.hidden)))
    put(f"{prefix}_activation", head.activation)
    put(f"{prefix}_output", head.output)
