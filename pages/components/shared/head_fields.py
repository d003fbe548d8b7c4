"""The fields of a new head."""

import streamlit as st

from core.errors import BadInput
from core.models.card import ACTIVATIONS, HEAD_OUTPUTS, HeadSettings
from pages.components.shared import url_state
from pages.components.shared.training_fields import parse_widths, suggest_value
from pages.components.shared.widget_sync import set_value

OUTPUT_TITLES = {"logit": "one logit", "softmax": "two classes"}


def head_fields(prefix: str, default_output: str = "logit") -> HeadSettings:
    """Draw the fields of a new head and return its settings. The URL carries them.

    Args:
        prefix: of the widget keys.
        default_output: the output until the user chooses another one.

    Raises:
        BadInput: a value that cannot be used.
    """
    suggest_value(f"{prefix}_output", default_output)
    _read_url(prefix)
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
            [*HEAD_OUTPUTS],
            format_func=OUTPUT_TITLES.__getitem__,
            key=f"{prefix}_output",
            persist_state="session",
            help="; ".join(HEAD_OUTPUTS.values()).capitalize() + ".",
        )
    head = HeadSettings(parse_widths(hidden, "The hidden layers"), activation, output)
    url_state.write("head", format_head(head), format_head(HeadSettings(output=default_output)))
    return head


def format_head(head: HeadSettings) -> str:
    """Format head settings for the URL, as in "64-32,relu,logit"."""
    return ",".join(["-".join(map(str, head.hidden)), head.activation, head.output])


def parse_head(text: str) -> HeadSettings:
    """Parse what `format_head` returns.

    Raises:
        BadInput: any other text.
    """
    parts = text.split(",")
    if len(parts) != 3:
        raise BadInput("A head is written as 64-32,relu,logit.")
    return HeadSettings(
        parse_widths(parts[0].replace("-", ","), "The hidden layers"), parts[1], parts[2]
    )


def _read_url(prefix: str) -> None:
    """Fill the fields from the URL."""
    text = url_state.read_new("head")
    if text is None:
        return
    try:
        head = parse_head(text)
    except BadInput as error:
        url_state.warn_ignored(text, error)
        return
    set_value(f"{prefix}_hidden", ", ".join(map(str, head.hidden)))
    set_value(f"{prefix}_activation", head.activation)
    set_value(f"{prefix}_output", head.output)
