"""The strategy of one run.

By default it is the freeze depth; any other strategy has its options and stack.
"""

from typing import Any

import streamlit as st

from core.errors import BadInput
from core.freezing.strategies import STRATEGIES, complete_options
from core.models.card import BackboneCard
from core.runs.sweep import Arm
from pages.components.finetune.freeze_line import DEPTH_KEY
from pages.components.shared import url_state
from pages.components.shared.arm_text import format_arm, parse_arm
from pages.components.shared.strategy_fields import (
    STRATEGY_GROUPS,
    option_fields,
    option_key,
    set_stage_switches,
    show_strategy_summary,
    stage_switches,
)
from pages.components.shared.widget_sync import set_value

DEFAULT_DEPTH = 1
_STRATEGY, _STACK = "ft_strategy", "ft"


def choose_strategy(card: BackboneCard, keep_head: bool) -> Arm:
    """Draw the choice and return the strategy with its options. The URL carries it."""
    _read_url(card)
    st.session_state.setdefault(_STRATEGY, "depth")
    strategy = st.selectbox(
        "Strategy",
        ["depth", *(name for names in STRATEGY_GROUPS.values() for name in names)],
        format_func=lambda name: STRATEGIES[name].title,
        key=_STRATEGY,
        persist_state="session",
        help=(
            "Freeze depth freezes the first stages. Other strategies choose stages, "
            "learning rates and schedules in other ways."
        ),
    )
    arm = (
        Arm("depth", _freeze_slider(card))
        if strategy == "depth"
        else Arm(strategy, 0, _options(card, strategy, keep_head))
    )
    # The depth has a parameter of its own: its slider is bound to the URL.
    url_state.write("strategy", "depth" if strategy == "depth" else format_arm(arm), "depth")
    return arm


def _options(card: BackboneCard, strategy: str, keep_head: bool) -> dict[str, Any]:
    show_strategy_summary(strategy)
    if strategy == "surgical":
        st.caption("Click a stage to train or to freeze it.")
        return {"stages": stage_switches(card, _STACK, len(card.stages) - 1, keep_head)}
    return option_fields("ft", strategy)


def _freeze_slider(card: BackboneCard) -> int:
    """Draw the slider over the backbone's stages."""
    stages = len(card.stages)
    depth = st.slider(
        "Freeze depth",
        0,
        stages,
        min(DEFAULT_DEPTH, stages),
        key=DEPTH_KEY,
        bind=url_state.BOUND,
        help=(
            "Number of frozen stages, counted from the input. You can also drag the freeze "
            "line in the picture, or click a stage there."
        ),
    )
    with st.container(horizontal=True, horizontal_alignment="distribute"):
        st.caption("0 · full fine-tuning", width="content")
        st.caption(f"{stages} · linear probe", width="content")
    return depth


def _read_url(card: BackboneCard) -> None:
    """Select what the URL asks for, or say why that is not possible."""
    text = url_state.read_new("strategy")
    if text is None:
        return
    try:
        arm = parse_arm(text, card)
    except BadInput as error:
        url_state.warn_ignored(text, error)
        return
    set_value(_STRATEGY, arm.strategy)
    for name, value in complete_options(arm.strategy, arm.options).items():
        if name == "stages":
            set_stage_switches(card, _STACK, value)
        else:
            set_value(option_key("ft", arm.strategy, name), value)
