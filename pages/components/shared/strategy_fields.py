"""Parts of a strategy's form that Fine-tune and Sweep share: summary, options, clickable stack."""

import math
from typing import Any

import streamlit as st

from core.freezing.strategies import STRATEGIES, Option, control_strategies
from core.models.card import BackboneCard
from pages.components.shared.formatting import escape_markdown, format_compact
from pages.components.shared.stack import load_stack_style
from pages.components.shared.widget_sync import set_value

STRATEGY_GROUPS = {
    "Which stages train": (
        "full",
        "linear-probe",
        "all-but-embeddings",
        "embeddings-only",
        "surgical",
    ),
    "When, how fast and how far they move": (
        "lp-ft",
        "gradual",
        "autofreeze",
        "decay",
        "auto-rgn",
        "l2-sp",
    ),
    "What changes inside a stage": ("bitfit", "lora", "meda"),
    "Controls": control_strategies(),
}
"""All strategies except "depth", which has a slider or a card of its own."""


def show_strategy_summary(name: str) -> None:
    """Show what the strategy does, when to use it, and its source."""
    strategy = STRATEGIES[name]
    st.markdown(f"{strategy.summary}\n\n:small[**When:** {strategy.when}]")
    if strategy.source:
        st.caption(escape_markdown(strategy.source))


def option_fields(prefix: str, strategy: str) -> dict[str, Any]:
    """Draw the options and return those that differ from the defaults.

    Args:
        prefix: of the widget keys.
    """
    options = {
        key: option for key, option in STRATEGIES[strategy].options.items() if key != "stages"
    }
    given = {
        key: _field(option_key(prefix, strategy, key), option) for key, option in options.items()
    }
    return {key: value for key, value in given.items() if value != options[key].default}


def option_key(prefix: str, strategy: str, option: str) -> str:
    """Return the widget key of an option."""
    return f"{prefix}_{strategy}_{option}"


def _field(key: str, option: Option) -> float | str:
    st.session_state.setdefault(key, option.default)
    if option.choices:
        return st.selectbox(
            option.label,
            option.choices,
            key=key,
            persist_state="session",
            help=f"{option.description[:1].upper()}{option.description[1:]}.",
        )
    whole = isinstance(option.default, int)
    return st.number_input(
        option.label,
        min_value=int(option.low) if whole else float(option.low),
        max_value=int(option.high) if whole else float(option.high),
        step=1 if whole else 10.0 ** math.floor(math.log10(option.default)),
        format="%d" if whole else "%g",
        key=key,
        persist_state="session",
        help=f"{option.description[:1].upper()}{option.description[1:]}.",
    )


def stage_switches(
    card: BackboneCard, stack: str, default_stage: int, keep_head: bool
) -> tuple[str, ...]:
    """Draw a stack whose stages are switches and return the names of those that train, input first.

    Args:
        stack: distinguishes this stack from others on the page.
        default_stage: index of the stage that trains by default.
        keep_head: whether the head is the backbone's own.
    """
    load_stack_style()
    trained = []
    with st.container(gap="xsmall"):
        st.html(
            '<div class="thaw-block thaw-trained" style="width:100%"><span class="thaw-icon"'
            ' aria-hidden="true">local_fire_department</span><span class="thaw-title">Head'
            f" ({'kept' if keep_head else 'new'})</span>"
            '<span class="thaw-word">trained</span></div>'
        )
        for index in reversed(range(len(card.stages))):
            stage = card.stages[index]
            key = switch_key(card, stack, stage.name)
            st.session_state.setdefault(key, index == default_stage)
            if st.toggle(
                f"**{escape_markdown(stage.title)}** {format_compact(stage.parameters)}",
                key=key,
                persist_state="session",
                width="stretch",
                help="On, this stage trains; off, it is frozen.",
            ):
                trained.append(stage.name)
        st.caption("13 numeric + 26 categorical features", text_alignment="center")
    return tuple(reversed(trained))


def switch_key(card: BackboneCard, stack: str, stage: str) -> str:
    """Return the widget key of a stage's switch.

    assets/stack.css styles keys with this prefix as blocks.
    """
    return f"stage_{card.id}_{stack}_{stage}"


def set_stage_switches(card: BackboneCard, stack: str, stages: tuple[str, ...]) -> None:
    """Set the switches of a stack before it is drawn."""
    for stage in card.stages:
        set_value(switch_key(card, stack, stage.name), stage.name in stages)
