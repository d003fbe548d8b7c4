"""Surgical arms of a sweep: every stack of clickable stages is one arm."""

from collections.abc import Sequence

import streamlit as st

from core.errors import BadInput
from core.models.card import BackboneCard
from core.runs.sweep import Arm
from pages.components.shared.strategy_fields import set_stage_switches, stage_switches

MAX_STACKS = 12
_STACKS = "sweep_stacks"
"""In the session: numbers of the existing stacks."""


def surgical_stacks(card: BackboneCard, keep_head: bool) -> list[Arm]:
    """Draw the stacks and return their arms.

    Raises:
        BadInput: a stack trains no stage, or two stacks train the same stages.
    """
    stacks: list[int] = st.session_state.setdefault(_STACKS, [0])
    arms = []
    with st.container(border=True):
        st.markdown("**Surgical stacks** :gray[· click a stage to train or to freeze it]")
        grid = st.grid(3, min_column_width=230, gap="medium")
        for index, stack in enumerate(stacks):
            with grid.cell():
                stages = _stack(card, stack, index + 1, keep_head)
                arms.append(Arm("surgical", 0, {"stages": stages}))
        st.button(
            "Add a stack",
            icon=":material/add:",
            on_click=_add,
            disabled=len(stacks) >= MAX_STACKS,
            help="Every stack is an arm of its own.",
        )
    chosen = [arm.options["stages"] for arm in arms]
    if () in chosen:
        raise BadInput(
            f"Surgical stack {chosen.index(()) + 1} trains no stage; click one, or remove the"
            " stack."
        )
    for index, stages in enumerate(chosen):
        if stages in chosen[:index]:
            raise BadInput(
                f"The surgical stacks {chosen.index(stages) + 1} and {index + 1} train the same"
                f" stages, {', '.join(stages)}; change or remove one."
            )
    return arms


def set_surgical_stacks(card: BackboneCard, arms: Sequence[Arm]) -> None:
    """Set one stack for each of the surgical arms (at least one) before they are drawn."""
    st.session_state[_STACKS] = [*range(len(arms[:MAX_STACKS]))]
    for stack, arm in enumerate(arms[:MAX_STACKS]):
        set_stage_switches(card, str(stack), arm.options["stages"])


def _stack(card: BackboneCard, stack: int, number: int, keep_head: bool) -> tuple[str, ...]:
    """Draw one stack and return the names of the stages that train, input first.

    Each new stack starts with another stage.
    """
    with st.container(
        horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"
    ):
        st.markdown(f"Stack {number}", width="content")
        st.button(
            "Remove",
            key=f"sweep_remove_{stack}",
            type="tertiary",
            icon=":material/close:",
            on_click=_remove,
            args=(stack,),
            disabled=len(st.session_state[_STACKS]) == 1,
        )
    first = len(card.stages) - 1 - stack % len(card.stages)
    return stage_switches(card, str(stack), first, keep_head)


def _add() -> None:
    stacks = st.session_state[_STACKS]
    stacks.append(max(stacks) + 1)


def _remove(stack: int) -> None:
    st.session_state[_STACKS].remove(stack)
