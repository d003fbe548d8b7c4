"""A plan in words, in numbers, and stage by stage."""

from collections.abc import Sequence

import streamlit as st

from core.freezing.plan import Plan
from core.freezing.strategies import STRATEGIES, has_own_model
from pages.components.shared.formatting import (
    escape_markdown,
    format_approx_duration,
    format_compact,
    format_int,
    format_percent,
)
from pages.components.shared.stack import has_random_weights

NBSP = "\N{NO-BREAK SPACE}"
NOT_KNOWN_YET = "once fitted"
FROZEN, TRAINED = ":blue[frozen]", ":orange[trained]"


def describe_plan(plan: Plan) -> str:
    """Say which stages the plan freezes and which it trains."""
    if not plan.trains:
        return "**Zero-shot**: nothing trains; the backbone keeps its own head."
    if has_own_model(plan.strategy):
        return _describe_control(plan)
    head = "new head" if plan.new_head else "backbone's own head"
    frozen = ", ".join(stage.title for stage in plan.stages[:-1] if stage.frozen)
    trained = ", ".join(stage.title for stage in plan.stages[:-1] if not stage.frozen)
    if not frozen and plan.strategy in ("depth", "full"):
        return f"**Full fine-tuning**: nothing is frozen, every stage and the {head} train."
    if not frozen:
        return f"Every stage and the {head} train."
    if not trained:
        return f"**Linear probe**: every stage is frozen, only the {head} trains."
    return f"**{frozen}** frozen; **{trained}** and the {head} train."


def _describe_control(plan: Plan) -> str:
    """Say what a control is fitted on, and that nothing of the backbone is in it."""
    rows = {
        "target": "the target's training rows",
        "source": "the source's training and validation rows",
        "both": "the source's rows and the target's training rows, as far as the dataset has both",
    }[plan.rows]
    title = STRATEGIES[plan.strategy].title
    what = (
        "every stage and a new head start from random weights and train"
        if plan.trains_network
        else "nothing of the backbone is used"
    )
    return (
        f"**{title}**, a control: {what}, on {rows}. Its vocabulary is fitted on the same rows,"
        " so that its size is known once it has been fitted."
    )


def warn_random_weights(plan: Plan) -> None:
    """Warn if the plan freezes stages with random weights."""
    random = [
        stage.title for stage in plan.stages[:-1] if stage.frozen and has_random_weights(stage)
    ]
    if random:
        st.warning(
            f"Freezing **{'**, **'.join(random)}** freezes random weights: that stage was "
            "never trained. The stages above it can only adapt to a fixed random mapping.",
            icon=":material/casino:",
        )


def show_totals(plan: Plan, seconds: float) -> None:
    """Show trained parameters, frozen share and estimated time."""
    total = sum(stage.parameters for stage in plan.stages)
    with st.grid(3, min_column_width=135):
        # A vocabulary that is not fitted yet has no size.
        known = plan.sizes_known
        trained = format_compact(plan.trained_parameters) if known else NOT_KNOWN_YET
        st.metric("Trained parameters", trained)
        st.metric("Frozen", format_percent(plan.frozen_parameters / total if known else 0))
        st.metric("Estimated time", format_approx_duration(seconds))


def show_plan_table(plan: Plan, learning_rate: float) -> None:
    """Show each stage, the head on top: frozen or trained, parameters, and share of the work.

    If the plan has them, also the number of trained parameters, the first epoch and the learning
    rate.
    """
    if not plan.trains_network:
        return
    stages = plan.stages[::-1]
    work = sum(stage.flops for stage in stages)
    columns = {
        "Stage": [escape_markdown(stage.title) for stage in stages] + ["All"],
        "State": [FROZEN if stage.frozen else TRAINED for stage in stages] + [""],
        "Parameters": (
            [format_int(stage.parameters) for stage in stages]
            + [format_int(sum(one.parameters for one in stages))]
        ),
    }
    if plan.scope != "all":
        columns["Trained"] = [format_int(stage.trained_parameters) for stage in stages] + [
            format_int(plan.trained_parameters)
        ]
    if plan.last_unfreeze_epoch:
        columns["From epoch"] = [
            "after the probe"
            if plan.probe_first and stage.from_epoch
            else str(stage.from_epoch + 1)
            for stage in stages
        ] + [""]
    if any(stage.lr_scale != 1 for stage in stages):
        columns["Rate"] = [
            "" if stage.frozen else f"{learning_rate * stage.lr_scale:.2g}" for stage in stages
        ] + [""]
    columns["Work"] = [_share_of(stage.flops, work) for stage in stages] + [_share_of(work, work)]
    lines = [_row([*columns]), "|:--|:--|" + "--:|" * (len(columns) - 2)]
    with st.container(key="plan_table"):
        st.markdown("\n".join([*lines, *map(_row, zip(*columns.values(), strict=True))]))
    st.caption(
        f"Work: share of one row's forward pass, {format_compact(work)} operations in total. "
        "Frozen stages process each row once, trained ones in every epoch, forward and "
        "backward."
    )


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(f':small[{cell}]' if cell.strip() else '' for cell in cells)} |"


def _share_of(part: int, whole: int) -> str:
    """Return a share as percent; "< 0.1 %" for a tiny one."""
    share = part / whole if whole else 0.0
    return ("< 0.1 %" if 0 < share < 0.001 else format_percent(share)).replace(" ", NBSP)
