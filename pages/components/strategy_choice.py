"""The strategy of one run: the freeze line unless another is chosen, and then its words, its
options and its stack."""

from typing import Any

import streamlit as st

from core.errors import BadInput
from core.freezing.strategies import STRATEGIES, complete_options
from core.models.card import BackboneCard
from core.runs.sweep import Arm
from pages.components.arm_address import arm_text, read_arm
from pages.components.form_address import keep, left_out, news
from pages.components.freeze_line import DEPTH
from pages.components.heard import put
from pages.components.strategy_fields import (
    GROUPS,
    option_fields,
    option_key,
    set_switches,
    stage_switches,
    strategy_words,
)

FIRST_DEPTH = 1
_STRATEGY, _STACK = "ft_strategy", "ft"


def choose_strategy(card: BackboneCard) -> Arm:
    """The strategy with its options, drawn where the page stands; the address carries it."""
    _from_address(card)
    st.session_state.setdefault(_STRATEGY, "depth")
    strategy = st.selectbox(
        "Strategy",
        ["depth", *(name for names in GROUPS.values() for name in names)],
        format_func=lambda name: STRATEGIES[name].title,
        key=_STRATEGY,
        persist_state="session",
        help=(
            "Freeze depth keeps the first stages as they are. Others choose stages, rates and times"
            " in other ways."
        ),
    )
    arm = (
        Arm("depth", _freeze_slider(card))
        if strategy == "depth"
        else Arm(strategy, 0, _options(card, strategy))
    )
    # The slider is bound to the address itself.
    keep("strategy", "depth" if strategy == "depth" else arm_text(arm), "depth")
    return arm


def _options(card: BackboneCard, strategy: str) -> dict[str, Any]:
    strategy_words(strategy)
    if strategy == "surgical":
        st.caption("Click a stage to train or to freeze it.")
        return {"stages": stage_switches(card, _STACK, len(card.stages) - 1)}
    return option_fields("ft", strategy)


def _freeze_slider(card: BackboneCard) -> int:
    """The freeze line, between the stages the backbone really has."""
    stages = len(card.stages)
    depth = st.slider(
        "Freeze depth",
        0,
        stages,
        min(FIRST_DEPTH, stages),
        key=DEPTH,
        bind="query-params",
        help=(
            "How many stages stay frozen, counted from the input. Or drag the freeze line in the"
            " picture, or click a stage there."
        ),
    )
    with st.container(horizontal=True, horizontal_alignment="distribute"):
        st.caption("0 · full fine-tuning", width="content")
        st.caption(f"{stages} · linear probe", width="content")
    return depth


def _from_address(card: BackboneCard) -> None:
    """Chooses what the address asks for, or says why not."""
    text = news("strategy")
    if text is None:
        return
    try:
        arm = read_arm(text, card)
    except BadInput as error:
        left_out(text, error)
        return
    put(_STRATEGY, arm.strategy)
    for name, value in complete_options(arm.strategy, arm.options).items():
        if name == "stages":
            set_switches(card, _STACK, value)
        else:
            put(option_key("ft", arm.strategy, name), value)
