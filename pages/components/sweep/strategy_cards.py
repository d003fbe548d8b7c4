"""All strategies as cards with a check box: summary, when to use it, source and options."""

from collections.abc import Sequence

import streamlit as st

from core.data.datasets import Dataset
from core.errors import BadInput
from core.freezing.plan import make_plan
from core.freezing.strategies import ROW_CHOICES, STRATEGIES, complete_options
from core.jobs.requests import TrainSettings
from core.models.card import BackboneCard, HeadSettings
from core.runs.control_rows import (
    ROWS_OPTION,
    arms_on_rows,
    control_rows_of,
    has_row_choice,
)
from core.runs.sweep import Arm, control_arms, default_arms
from pages.components.shared import url_state
from pages.components.shared.arm_text import format_arm, parse_arm
from pages.components.shared.errors import show_error
from pages.components.shared.formatting import escape_markdown
from pages.components.shared.strategy_fields import (
    STRATEGY_GROUPS,
    option_fields,
    option_key,
    show_strategy_summary,
)
from pages.components.shared.widget_sync import set_value
from pages.components.sweep.surgical_stacks import set_surgical_stacks, surgical_stacks

NO_ARMS = "none"
"""In the URL, when no arm is selected."""


def strategy_cards(
    dataset: Dataset,
    card: BackboneCard,
    head: HeadSettings,
    train: TrainSettings,
    keep_head: bool,
) -> list[Arm]:
    """Draw every card and return the selected arms, freeze depths first. The URL carries the arms.

    Args:
        dataset: decides, as the backbone does, which controls are selected at first.
        card: the backbone.
        head: the head that trains.
        train: training settings.
        keep_head: whether the head is the backbone's own.

    Raises:
        BadInput: a surgical stack that cannot be used, or a control without rows.
    """
    _read_url(card)
    depths = _depth_card(card)
    arms = [Arm("depth", depth) for depth in depths]
    controls = {arm.strategy for arm in control_arms(card, dataset)}
    surgical: list[Arm] = []
    problem: BadInput | None = None
    for group, names in STRATEGY_GROUPS.items():
        st.markdown(f"##### {group}")
        ticked = []
        grid = st.grid(3, min_column_width=230, gap="small", border=True)
        for name in names:
            with grid.cell():
                same = _same_depth(card, name)
                if same in depths:
                    _card_of_depth(name, same)
                    continue
                why_not = _why_not(card, name, head, train, keep_head)
                if not _is_ticked(name, why_not, name in controls):
                    continue
                ticked.append(name)
                try:
                    arms += [] if name == "surgical" else _card_arms(name)
                except BadInput as error:
                    show_error(error)
                    problem = error
        if "surgical" in ticked:
            try:
                surgical = surgical_stacks(card, keep_head)
            except BadInput as error:
                show_error(error)
                problem = error
    # Raise only now, so that an invalid stack does not hide the cards below it.
    if problem:
        raise problem
    arms += surgical
    url_state.write("arms", _format_arms(arms), _format_arms(default_arms(card, dataset)))
    return arms


def _format_arms(arms: Sequence[Arm]) -> str:
    return ",".join(map(format_arm, arms)) or NO_ARMS


def _read_url(card: BackboneCard) -> None:
    """Select the arms that the URL asks for, and say which of them this backbone cannot have."""
    text = url_state.read_new("arms")
    if text is None:
        return
    arms = []
    for part in text.split(",") if text != NO_ARMS else ():
        try:
            arms.append(parse_arm(part, card))
        except BadInput as error:
            url_state.warn_ignored(part, error)
    set_value(
        _depths_key(card), sorted({arm.freeze_depth for arm in arms if arm.strategy == "depth"})
    )
    for names in STRATEGY_GROUPS.values():
        for name in names:
            set_value(_tick_key(name), any(arm.strategy == name for arm in arms))
    for arm in arms:
        for option, value in complete_options(arm.strategy, arm.options).items():
            if option == ROWS_OPTION:
                rows = control_rows_of([one for one in arms if one.strategy == arm.strategy])
                set_value(
                    option_key("sweep", arm.strategy, option), rows.get(arm.strategy, [value])
                )
            elif option != "stages":
                set_value(option_key("sweep", arm.strategy, option), value)
    if surgical := [arm for arm in arms if arm.strategy == "surgical"]:
        set_surgical_stacks(card, surgical)


def _tick_key(name: str) -> str:
    return f"sweep_with_{name}"


def _depths_key(card: BackboneCard) -> str:
    return f"sweep_depths_{card.id}"


def _depth_card(card: BackboneCard) -> list[int]:
    strategy, stages = STRATEGIES["depth"], len(card.stages)
    words = {0: "0 · full fine-tuning", stages: f"{stages} · linear probe"}
    with st.container(border=True):
        st.markdown(f"**{strategy.title}**")
        st.markdown(f"{strategy.summary} :gray[{strategy.when}]")
        st.session_state.setdefault(_depths_key(card), [*range(stages + 1)])
        depths = st.pills(
            "Freeze depths",
            range(stages + 1),
            selection_mode="multi",
            format_func=lambda depth: words.get(depth, str(depth)),
            key=_depths_key(card),
            persist_state="session",
            label_visibility="collapsed",
            wrap=True,
            help=(
                "Each depth becomes an arm: that many stages, counted from the input, are "
                "frozen; the others train."
            ),
        )
        titles = ", ".join(escape_markdown(stage.title) for stage in card.stages)
        st.caption(f"Stages from the input: {titles}. {escape_markdown(strategy.source)}.")
    return sorted(depths)


def _is_ticked(name: str, why_not: str, ticked_at_first: bool) -> bool:
    """Draw a strategy's check box and summary; return whether it is selected."""
    strategy = STRATEGIES[name]
    st.session_state.setdefault(_tick_key(name), ticked_at_first)
    ticked = st.checkbox(
        f"**{strategy.title}**",
        key=_tick_key(name),
        disabled=bool(why_not),
        persist_state="session",
        help=(
            "Adds this strategy to the sweep, with one run per seed, target size and learning rate."
        ),
    )
    show_strategy_summary(name)
    if why_not:
        st.caption(f":orange[:material/block: {escape_markdown(why_not)}]")
    return ticked and not why_not


def _card_arms(name: str) -> Sequence[Arm]:
    """Draw the options of a selected strategy and return its arms: one, or one for each rows.

    Raises:
        BadInput: a control has no rows.
    """
    if not has_row_choice(name):
        return [Arm(name, 0, option_fields("sweep", name))]
    key = option_key("sweep", name, ROWS_OPTION)
    st.session_state.setdefault(key, [STRATEGIES[name].options[ROWS_OPTION].default])
    chosen = st.pills(
        "Rows",
        ROW_CHOICES,
        selection_mode="multi",
        key=key,
        persist_state="session",
        wrap=True,
        help=(
            "Training rows that it is fitted on: source, target, or both as far as the dataset "
            "has them. Each choice becomes an arm."
        ),
    )
    return arms_on_rows(name, [one for one in ROW_CHOICES if one in chosen])


def _card_of_depth(name: str, depth: int) -> None:
    """Draw the card of a strategy that equals a selected freeze depth.

    The strategy cannot be selected as well, so that nothing runs twice.
    """
    title = STRATEGIES[name].title
    st.checkbox(
        f"**{title}**",
        True,
        key=f"sweep_depth_as_{name}",
        disabled=True,
        help="It is in the sweep as a freeze depth already, so it is not run twice.",
    )
    show_strategy_summary(name)
    st.markdown(f":small[:green[:material/check: In the sweep as freeze depth {depth}.]]")


def _same_depth(card: BackboneCard, name: str) -> int:
    """Return the freeze depth that trains the same stages at the same rate; -1 if there is none."""
    same = {"full": 0, "linear-probe": len(card.stages)}
    if card.stages[0].name == "embedding":
        same["all-but-embeddings"] = 1
    return same.get(name, -1)


def _why_not(
    card: BackboneCard, name: str, head: HeadSettings, train: TrainSettings, keep_head: bool
) -> str:
    """Return why this backbone or number of epochs does not allow the strategy, or ""."""
    if name == "surgical":
        return ""
    try:
        make_plan(card, name, 0, head, keep_head=keep_head).check_epochs(train.epochs)
    except BadInput as error:
        return str(error)
    return ""
