"""A backbone drawn as a stack of blocks.

The input is at the bottom and the head on top; frozen stages are blue, trained ones orange.
"""

import math
from collections.abc import Sequence
from html import escape

import streamlit as st

from core.freezing.plan import Plan, PlannedStage
from core.models.card import StageCard
from core.models.objectives import ORIGINS
from core.report.palette import block_css
from core.workspace import PROJECT
from pages.components.shared.formatting import format_compact, format_int, format_percent

RANDOM = "random weights"
SCOPE_TITLES = {"biases and norms": "biases and norms", "adapters": "additions"}
"""What trains inside a stage if not all of it, by the plan's scope."""
_STYLE = block_css() + (PROJECT / "assets" / "stack.css").read_text(encoding="utf-8")
_INPUT = (
    '13 numeric + 26 categorical features<span class="thaw-wide"> · wider stages have more'
    " parameters</span>"
)
ICONS = {"frozen": "ac_unit", "trained": "local_fire_department"}
"""Icon by state; the state is also the block's text and the end of its CSS class."""


def load_stack_style() -> None:
    """Load the CSS of blocks, for blocks that are drawn by other widgets."""
    st.html(f"<style>{_STYLE}</style>")


def draw_plan(plan: Plan, draggable: bool = False) -> None:
    """Draw what `plan` freezes and trains, with the freeze line if all frozen stages lie below it.

    Args:
        draggable: whether the line looks draggable; it is then drawn even if nothing is frozen.
    """
    frozen = sum(stage.frozen for stage in plan.stages)
    states = ["frozen" if stage.frozen else "trained" for stage in plan.stages]
    # The title of a new head says so: no badge for random weights.
    rows = [
        _block(
            stage,
            state,
            ICONS[state],
            state,
            RANDOM if has_random_weights(stage) and stage.name != "head" else "",
            training_note(plan, stage),
        )
        for stage, state in zip(plan.stages, states, strict=True)
    ]
    if frozen == plan.frozen_depth and (frozen or draggable):
        rows.insert(
            frozen, '<div class="thaw-line" aria-hidden="true"><span>freeze line</span></div>'
        )
    description = "; ".join(
        ", ".join(
            filter(
                None,
                (
                    f"{stage.title}: {state}",
                    training_note(plan, stage),
                    origin_title(stage),
                    f"{format_int(stage.parameters)} parameters",
                ),
            )
        )
        for stage, state in zip(plan.stages, states, strict=True)
    )
    kind = "thaw-stack thaw-movable" if draggable else "thaw-stack"
    _draw(
        rows,
        f"{frozen} of {len(plan.stages)} stages frozen. From the input up: {description}",
        kind,
    )


def draw_stages(stages: Sequence[StageCard]) -> None:
    """Draw the stages of a backbone with the origin of their weights, without a plan."""
    total = max(sum(stage.parameters for stage in stages), 1)
    planned = [
        PlannedStage(
            stage.name,
            stage.title,
            stage.parameters,
            stage.parameters / total,
            False,
            stage.flops,
            stage.origin,
        )
        for stage in stages
    ]
    description = "; ".join(
        f"{stage.title}: {origin_title(stage)}, {format_int(stage.parameters)} parameters"
        for stage in stages
    )
    rows = [
        _block(
            stage,
            "plain",
            "layers",
            "",
            RANDOM if has_random_weights(stage) else origin_title(stage),
            "",
        )
        for stage in planned
    ]
    _draw(rows, f"Stages from the input up: {description}")
    if shared := describe_parallel_parts(stages):
        st.caption(shared)


def training_note(plan: Plan, stage: PlannedStage) -> str:
    """Return how a stage trains, or "" if it trains from the first epoch at the full rate."""
    if stage.frozen:
        return ""
    joins = "after the probe" if plan.probe_first else f"from epoch {stage.from_epoch + 1}"
    words = [joins] if stage.from_epoch else []
    if plan.scope != "all" and stage.name != "head":
        words.append(f"{SCOPE_TITLES[plan.scope]} only: {format_compact(stage.trained_parameters)}")
    if stage.lr_scale != 1:
        words.append(f"rate × {stage.lr_scale:.2g}")
    return ", ".join(words)


def has_random_weights(stage: StageCard | PlannedStage) -> bool:
    """Return whether the stage's weights are untrained."""
    return stage.origin == "random"


def origin_title(stage: StageCard | PlannedStage) -> str:
    """Return the origin of the stage's weights in a word or two."""
    return ORIGINS.get(stage.origin, stage.origin)


def describe_parallel_parts(stages: Sequence[StageCard]) -> str:
    """Say which parallel parts share a stage and so freeze together; "" if none do."""
    shared = [" and ".join(stage.parts) for stage in stages if stage.parts]
    if not shared:
        return ""
    more = (
        f", and so on up to {shared[-1]}"
        if len(shared) > 2
        else f"; so do {shared[-1]}"
        if len(shared) > 1
        else ""
    )
    return f"{shared[0]} are parallel and share a stage{more}: such parts freeze together."


def block_width(share: float) -> float:
    """Return the block's width in percent for a share of the parameters.

    Log scale: 100 for all parameters, 34 for a thousandth or less.
    """
    decades = math.log10(max(share, 1e-3))
    return 100 + 22 * decades


def _block(stage: PlannedStage, state: str, icon: str, word: str, origin: str, how: str) -> str:
    shown = f'<span class="thaw-word">{escape(word)}</span>' if word else ""
    kind = " thaw-random" if origin == RANDOM else ""
    from_where = f'<span class="thaw-origin{kind}">{escape(origin)}</span>' if origin else ""
    manner = f'<span class="thaw-how">{escape(how)}</span>' if how else ""
    share = "under 0.1 %" if 0 < stage.share < 0.001 else format_percent(stage.share)
    numbers = f"{format_compact(stage.parameters)} parameters · " + share.replace(
        " ", "\N{NO-BREAK SPACE}"
    )
    return (
        f'<div class="thaw-block thaw-{state}" style="width:{block_width(stage.share):.1f}%">'
        f'<span class="thaw-icon" aria-hidden="true">{icon}</span>'
        f'<span class="thaw-title">{escape(stage.title)}</span>{shown}'
        f'<span class="thaw-numbers">{escape(numbers)}</span>{from_where}{manner}</div>'
    )


def _draw(rows: Sequence[str], label: str, kind: str = "thaw-stack") -> None:
    body = "".join(reversed(rows))
    st.html(
        f'<style>{_STYLE}</style><div class="{kind}" role="img" aria-label="{escape(label)}">'
        f'{body}<div class="thaw-input" aria-hidden="true">{_INPUT}</div></div>'
    )
