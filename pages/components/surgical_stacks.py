"""Surgical arms: a stack whose stages one clicks to train or to freeze them; several stacks make several arms."""

import streamlit as st

from core.errors import BadInput
from core.models.card import BackboneCard
from core.runs.sweep import Arm
from core.workspace import PROJECT
from pages.components.common import escape_markdown, short_count

MOST_STACKS = 12
_STACKS = "sweep_stacks"
"""In the session: numbers of the stacks there are."""


def surgical_stacks(card: BackboneCard) -> list[Arm]:
    """Draws the stacks and gives their arms; BadInput for a stack without a stage and for two that are alike."""
    style = (PROJECT / "assets" / "stack.css").read_text(encoding="utf-8")
    st.html(f"<style>{style}</style>")
    stacks: list[int] = st.session_state.setdefault(_STACKS, [0])
    arms = []
    with st.container(border=True):
        st.markdown("**Surgical stacks** :gray[· click a stage to train or to freeze it]")
        grid = st.grid(3, min_column_width=230, gap="medium")
        for place, stack in enumerate(stacks):
            with grid.cell():
                arms.append(Arm("surgical", 0, {"stages": _stack(card, stack, place + 1)}))
        st.button(
            "Add a stack",
            icon=":material/add:",
            on_click=_add,
            disabled=len(stacks) >= MOST_STACKS,
            help="Every stack is an arm of its own.",
        )
    chosen = [arm.options["stages"] for arm in arms]
    if () in chosen:
        raise BadInput(f"Surgical stack {chosen.index(()) + 1} trains no stage; click one, or remove the stack.")
    for place, stages in enumerate(chosen):
        if stages in chosen[:place]:
            raise BadInput(
                f"The surgical stacks {chosen.index(stages) + 1} and {place + 1} train the same stages, "
                f"{', '.join(stages)}; change or remove one."
            )
    return arms


def _stack(card: BackboneCard, stack: int, number: int) -> tuple[str, ...]:
    """The names of the stages that train, from the input up; the newest stack starts with a stage of its own."""
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
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
    trained = []
    with st.container(gap="xsmall"):
        st.html(
            '<div class="thaw-block thaw-trained" style="width:100%"><span class="thaw-icon" aria-hidden="true">'
            'local_fire_department</span><span class="thaw-title">Head (new)</span><span class="thaw-word">trained'
            "</span></div>"
        )
        first = len(card.stages) - 1 - stack % len(card.stages)
        for place in reversed(range(len(card.stages))):
            stage = card.stages[place]
            if st.toggle(
                f"**{escape_markdown(stage.title)}** {short_count(stage.parameters)}",
                place == first,
                key=f"stage_{card.id}_{stack}_{stage.name}",
                persist_state="session",
                width="stretch",
                help="On, this stage trains in this arm; off, it is frozen.",
            ):
                trained.append(stage.name)
        st.caption("13 numeric + 26 categorical features", text_alignment="center")
    return tuple(reversed(trained))


def _add() -> None:
    stacks = st.session_state[_STACKS]
    stacks.append(max(stacks) + 1)


def _remove(stack: int) -> None:
    st.session_state[_STACKS].remove(stack)
