"""The choice of the head: the backbone's own, or a new one with these fields."""

import streamlit as st

from core.errors import BadInput
from core.freezing.heads import HeadChoice, default_keep_head
from core.models.card import ACTIVATIONS, HEAD_OUTPUTS, BackboneCard, HeadSettings
from pages.components.shared import url_state
from pages.components.shared.training_fields import parse_widths, suggest_value
from pages.components.shared.widget_sync import set_value

OUTPUT_TITLES = {"logit": "one logit", "softmax": "two classes"}
CHOICE_TITLES: dict[HeadChoice, str] = {"keep": "keep the backbone's own", "new": "new"}


def head_fields(
    prefix: str, card: BackboneCard, new_by_default: bool = False, default_output: str = "logit"
) -> tuple[bool, HeadSettings]:
    """Draw the choice, and the fields of a new head. The URL carries them.

    Args:
        prefix: of the widget keys.
        card: the backbone.
        new_by_default: whether a new head is suggested even where the backbone's own could stay.
        default_output: the output of a new head until the user chooses another one.

    A choice that the user, or the URL, has made is not replaced when another preset is chosen.

    Returns:
        (whether the backbone's head is kept, the settings of the head that trains).

    Raises:
        BadInput: a value that cannot be used.
    """
    keep_by_default = default_keep_head(card) and not new_by_default
    default: HeadChoice = "keep" if keep_by_default else "new"
    if not st.session_state.get(_by_hand_key(prefix)):
        suggest_value(_choice_key(prefix), default)
    suggest_value(f"{prefix}_output", default_output)
    _read_url(prefix, card, default_output)
    if not card.scores_clicks:
        set_value(_choice_key(prefix), "new")
    choice = st.radio(
        "Head to start from",
        [*CHOICE_TITLES],
        format_func=CHOICE_TITLES.__getitem__,
        key=_choice_key(prefix),
        horizontal=True,
        on_change=_set_by_hand,
        args=(prefix,),
        persist_state="session",
        disabled=not card.scores_clicks,
        help=(
            "The backbone's own head goes on from what it learnt: the backbone as it is counts as"
            " epoch 0, so the run never ends below it on validation rows. A new head starts from"
            " random weights, as in the source article."
        ),
    )
    if not card.scores_clicks:
        st.caption(
            "The head is new: this backbone has none trained on click labels that could be kept."
        )
    keep = choice == "keep"
    if keep and new_by_default:
        st.caption("The preset suggests a new head; you chose to keep the backbone's, so it stays.")
    head = card.head if keep else _new_head_fields(prefix)
    new_default = format_head(HeadSettings(output=default_output))
    text = "keep" if keep else format_head(head)
    url_state.write("head", "new" if text == new_default else text, default)
    return keep, head


def _new_head_fields(prefix: str) -> HeadSettings:
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
    return HeadSettings(parse_widths(hidden, "The hidden layers"), activation, output)


def format_head(head: HeadSettings) -> str:
    """Format the settings of a new head for the URL, as in "64-32,relu,logit"."""
    return ",".join(["-".join(map(str, head.hidden)), head.activation, head.output])


def parse_head(text: str) -> HeadSettings:
    """Parse what `format_head` returns.

    Raises:
        BadInput: any other text.
    """
    parts = text.split(",")
    if len(parts) != 3:
        raise BadInput("A head is written as keep, new or 64-32,relu,logit.")
    return HeadSettings(
        parse_widths(parts[0].replace("-", ","), "The hidden layers"), parts[1], parts[2]
    )


def _read_url(prefix: str, card: BackboneCard, default_output: str) -> None:
    """Fill the fields from the URL."""
    text = url_state.read_new("head")
    if text is None:
        return
    if text == "keep":
        if card.scores_clicks:
            set_value(_choice_key(prefix), "keep")
            _set_by_hand(prefix)
        else:
            url_state.warn_ignored(text, "This backbone has no head trained on click labels.")
        return
    try:
        head = HeadSettings(output=default_output) if text == "new" else parse_head(text)
    except BadInput as error:
        url_state.warn_ignored(text, error)
        return
    set_value(_choice_key(prefix), "new")
    _set_by_hand(prefix)
    set_value(f"{prefix}_hidden", ", ".join(map(str, head.hidden)))
    set_value(f"{prefix}_activation", head.activation)
    set_value(f"{prefix}_output", head.output)


def _choice_key(prefix: str) -> str:
    return f"{prefix}_head"


def _by_hand_key(prefix: str) -> str:
    return f"{prefix}_head_by_hand"


def _set_by_hand(prefix: str) -> None:
    st.session_state[_by_hand_key(prefix)] = True
