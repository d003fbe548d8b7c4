"""The strategies as cards to tick, each with what it does, when to try it, its source and its options."""

import math

import streamlit as st

from core.errors import BadInput
from core.freezing.plan import make_plan
from core.freezing.strategies import STRATEGIES, Option
from core.models.card import BackboneCard, HeadSettings
from core.runs.sweep import Arm
from core.training.settings import TrainSettings
from pages.components.common import escape_markdown, show_error
from pages.components.surgical_stacks import surgical_stacks

GROUPS = {
    "Which stages train": ("full", "linear-probe", "all-but-embeddings", "embeddings-only", "surgical"),
    "When, how fast and how far they move": ("lp-ft", "gradual", "autofreeze", "decay", "auto-rgn", "l2-sp"),
    "What changes inside a stage": ("bitfit", "lora", "meda"),
    "Controls": ("scratch", "zero-shot"),
}
"""Every strategy but "depth", which has a card of its own above them."""
TICKED = ("scratch", "zero-shot")


def strategy_cards(card: BackboneCard, head: HeadSettings, train: TrainSettings) -> list[Arm]:
    """Draws every card and gives the arms that are ticked, freeze depths first; BadInput for an option that fails."""
    depths = _depth_card(card)
    arms = [Arm("depth", depth) for depth in depths]
    surgical: list[Arm] = []
    problems: list[BadInput] = []
    for group, names in GROUPS.items():
        st.markdown(f"##### {group}")
        ticked = []
        grid = st.grid(3, min_column_width=230, gap="small", border=True)
        for name in names:
            with grid.cell():
                same = _same_depth(card, name)
                if same in depths:
                    _card_of_depth(name, same)
                    continue
                try:
                    options = _card(name, _why_not(card, name, head, train))
                except BadInput as error:
                    problems.append(error)
                    continue
                if options is not None:
                    ticked.append(name)
                    if name != "surgical":
                        arms.append(Arm(name, 0, options))
        if "surgical" in ticked:
            try:
                surgical = surgical_stacks(card)
            except BadInput as error:
                show_error(error)
                problems.append(error)
    # Only now, so that one wrong field does not take the cards below it off the page.
    if problems:
        raise problems[0]
    return arms + surgical


def _depth_card(card: BackboneCard) -> list[int]:
    about, stages = STRATEGIES["depth"], len(card.stages)
    words = {0: "0 · full fine-tuning", stages: f"{stages} · linear probe"}
    with st.container(border=True):
        st.markdown(f"**{about.title}**")
        st.markdown(f"{about.summary} :gray[{about.when}]")
        depths = st.pills(
            "Freeze depths",
            range(stages + 1),
            selection_mode="multi",
            default=range(stages + 1),
            format_func=lambda depth: words.get(depth, str(depth)),
            key=f"sweep_depths_{card.id}",
            persist_state="session",
            label_visibility="collapsed",
            wrap=True,
            help="Each depth becomes an arm: so many stages from the input keep their weights, the others train.",
        )
        titles = ", ".join(escape_markdown(stage.title) for stage in card.stages)
        st.caption(f"Stages from the input: {titles}. {escape_markdown(about.source)}.")
    return sorted(depths)


def _card(name: str, why_not: str) -> dict[str, object] | None:
    """The strategy's options where they differ from its defaults; None when it is not ticked."""
    about = STRATEGIES[name]
    ticked = st.checkbox(
        f"**{about.title}**",
        name in TICKED,
        key=f"sweep_with_{name}",
        disabled=bool(why_not),
        persist_state="session",
        help="Adds this strategy to the sweep, with as many runs as there are seeds, sizes and rates.",
    )
    _words(name)
    if why_not:
        st.caption(f":orange[:material/block: {escape_markdown(why_not)}]")
    if why_not or not ticked:
        return None
    given = {key: _option(name, key, option) for key, option in about.options.items() if key != "stages"}
    return {key: value for key, value in given.items() if value != about.options[key].default}


def _card_of_depth(name: str, depth: int) -> None:
    """A card whose arm is already there as a freeze depth, so that nothing runs twice under two names."""
    title = STRATEGIES[name].title
    st.checkbox(
        f"**{title}**",
        True,
        key=f"sweep_depth_as_{name}",
        disabled=True,
        help="It is in the sweep as a freeze depth already, so it is not run twice.",
    )
    _words(name)
    st.caption(f":green[:material/check: In the sweep as freeze depth {depth}.]")


def _words(name: str) -> None:
    about = STRATEGIES[name]
    st.markdown(f"{about.summary}\n\n:small[**When:** {about.when}]")
    if about.source:
        st.caption(escape_markdown(about.source))


def _option(strategy: str, key: str, option: Option) -> float:
    whole = isinstance(option.default, int)
    value = st.number_input(
        option.label,
        min_value=int(option.low) if whole else float(option.low),
        max_value=int(option.high) if whole else float(option.high),
        value=option.default,
        step=1 if whole else 10.0 ** math.floor(math.log10(option.default)),
        format="%d" if whole else "%g",
        key=f"sweep_{strategy}_{key}",
        persist_state="session",
        help=f"{option.about[:1].upper()}{option.about[1:]}.",
    )
    if value is None:
        raise BadInput(f"The field {option.label!r} of {STRATEGIES[strategy].title!r} is empty; put a number in.")
    return value


def _same_depth(card: BackboneCard, name: str) -> int:
    """The freeze depth that trains just the same stages at the same rate; -1 for none."""
    same = {"full": 0, "linear-probe": len(card.stages)}
    if card.stages[0].name == "embedding":
        same["all-but-embeddings"] = 1
    return same.get(name, -1)


def _why_not(card: BackboneCard, name: str, head: HeadSettings, train: TrainSettings) -> str:
    """Why this backbone or so few epochs do not allow the strategy; empty when they do."""
    if name == "surgical":
        return ""
    try:
        make_plan(card, name, 0, head).check_epochs(train.epochs)
    except BadInput as error:
        return str(error)
    return ""
