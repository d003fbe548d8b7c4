"""Fine-tune: choose the frozen stages, head and training settings, see the cost, launch."""

import streamlit as st

from core.data.datasets import Dataset, count_source_rows
from core.freezing.heads import NEW_HEAD_PRESETS
from core.freezing.inputs import REFITTED_SENTENCE, inputs_of_strategy
from core.freezing.plan import Plan, make_plan
from core.freezing.strategies import (
    DEFAULT_CONTROLS,
    STRATEGIES,
    control_strategies,
    has_learning_rate,
    has_own_model,
    is_trained,
)
from core.jobs.requests import FinetuneRequest
from core.jobs.store import RunStore
from core.models.card import BackboneCard, HeadSettings
from core.models.registry import ARCHITECTURES
from core.runs.command_lines import command_line
from core.runs.estimate import calibration_runs, estimate_seconds
from core.runs.launch import ensure_worker, queue_for_device
from core.runs.submit import submit_finetune
from core.training.default_settings import count_training_rows, target_rows_and_share
from pages.components.finetune.freeze_line import draggable_stack
from pages.components.finetune.plan_view import (
    describe_plan,
    show_plan_table,
    show_totals,
    warn_random_weights,
)
from pages.components.finetune.strategy_choice import choose_strategy
from pages.components.shared import url_state
from pages.components.shared.access import guarded_button
from pages.components.shared.chart import preload_charts
from pages.components.shared.choosers import choose_dataset_and_backbone, datasets_and_backbones
from pages.components.shared.common import show_command, workspace
from pages.components.shared.errors import catch_errors
from pages.components.shared.formatting import format_approx_duration
from pages.components.shared.head_fields import head_fields
from pages.components.shared.inputs_field import inputs_field
from pages.components.shared.stack import describe_parallel_parts, draw_plan
from pages.components.shared.training_fields import training_fields
from pages.components.shared.vocabulary_coverage import cached_coverage, coverage_warning
from pages.components.shared.widget_sync import reapply_unseen, render_ack_field, set_value

NO_CONTROLS = "none"
"""In the URL, when no control is selected."""


def warn_about_coverage(dataset: Dataset, card: BackboneCard, plan: Plan) -> None:
    """Warn if the backbone's vocabulary does not cover the dataset's values."""
    with catch_errors():
        warning = coverage_warning(cached_coverage(dataset, card), int(plan.stages[0].frozen))
        if warning is None:
            return
        st.warning(warning, icon=":material/warning:")
        with st.container(horizontal=True):
            here = {"dataset": dataset.id, "backbone": card.id}
            st.page_link(
                "backbones.py",
                label="Column by column",
                icon=":material/fact_check:",
                query_params={"section": "Vocabulary check"} | here,
            )
            if dataset.has_source:
                st.page_link(
                    "backbones.py",
                    label="Pretrain on its source rows",
                    icon=":material/model_training:",
                    query_params={"section": "Pretrain"} | here,
                )


def choose_head(card: BackboneCard) -> tuple[bool, HeadSettings]:
    """Draw the choice of the head; return whether it is the backbone's own, and its settings.

    With the preset "article" it is new by default, and the article's backbones get two classes.
    """
    st.markdown("##### Head")
    article = st.session_state.get("ft_preset") in NEW_HEAD_PRESETS
    two_classes = article and bool(ARCHITECTURES[card.architecture].required_package)
    return head_fields("ft", card, article, "softmax" if two_classes else "logit")


def choose_controls(card: BackboneCard, strategy: str) -> list[str]:
    """Draw the choice of controls and return the selected ones. The URL carries them.

    Only controls that the backbone allows and that differ from the strategy are offered.
    """
    allowed = [
        name
        for name in control_strategies()
        if name != strategy and (is_trained(name) or card.scores_clicks)
    ]
    _read_controls(allowed)
    with st.container(horizontal=True):
        st.markdown("Controls to run with it:", width="content")
        chosen = [
            name
            for name in allowed
            if st.checkbox(
                STRATEGIES[name].title,
                key=f"ft_{name}",
                help=STRATEGIES[name].summary,
                persist_state="session",
                width="content",
            )
        ]
    if not card.scores_clicks:
        st.caption(
            "No zero-shot: this backbone has no head trained on click labels, so it cannot "
            "score rows as it is."
        )
    default = [name for name in allowed if name in DEFAULT_CONTROLS]
    url_state.write("controls", ",".join(chosen) or NO_CONTROLS, ",".join(default) or NO_CONTROLS)
    return chosen


def _read_controls(allowed: list[str]) -> None:
    """Select the controls that the URL asks for, else, at first, the default ones."""
    for name in allowed:
        st.session_state.setdefault(f"ft_{name}", name in DEFAULT_CONTROLS)
    text = url_state.read_new("controls")
    if text is None:
        return
    asked = text.split(",") if text != NO_CONTROLS else []
    for name in asked:
        if name not in allowed:
            url_state.warn_ignored(name, f"The controls of this run can be {', '.join(allowed)}.")
    for name in allowed:
        set_value(f"ft_{name}", name in asked)


def launch_section(
    dataset: Dataset, card: BackboneCard, plan: Plan, request: FinetuneRequest
) -> None:
    """Draw controls, cost and the button, for valid settings."""
    train = request.train
    chosen = choose_controls(card, request.strategy)
    history = calibration_runs(RunStore(workspace()).list("done"), train)
    rows = count_training_rows(dataset, "target", train.validation_share)
    plans = [
        plan,
        *(
            make_plan(card, control, 0, request.head, keep_head=request.keep_head)
            for control in chosen
        ),
    ]
    source_rows = count_source_rows(dataset)
    estimates = [
        estimate_seconds(plan, rows, train, history, source_rows=source_rows) for plan in plans
    ]
    show_totals(plan, estimates[0].seconds)
    everything = (
        " With the controls "
        f"{format_approx_duration(sum(estimate.seconds for estimate in estimates))}."
        if chosen
        else ""
    )
    st.caption(estimates[0].explanation + everything)
    if request.inputs == "refitted":
        st.caption(REFITTED_SENTENCE)
    if guarded_button(
        "Launch", type="primary", icon=":material/play_arrow:", key="ft_launch", width="stretch"
    ):
        runs = submit_finetune(workspace(), request, chosen)
        st.switch_page("run.py", query_params={"run": runs[0].id})
    beside = f" --controls {','.join(chosen)}" if chosen else ""
    show_command(command_line(workspace(), request) + beside)


def draw_stack(card: BackboneCard, plan: Plan) -> None:
    """Draw the plan as a picture (surgical: its switches are the picture) and describe it."""
    if plan.strategy == "depth":
        draggable_stack(plan)
    elif plan.strategy != "surgical" and plan.trains_network:
        draw_plan(plan)
    st.markdown(describe_plan(plan))
    shared = describe_parallel_parts(card.stages)
    if shared and plan.trains_network:
        st.caption(shared)
    warn_random_weights(plan)


def finetune_form(datasets: list[Dataset], cards: list[BackboneCard]) -> None:
    """Draw the form, given at least one dataset and one backbone."""
    reapply_unseen()
    dataset, card = choose_dataset_and_backbone(datasets, cards)
    left, right = st.columns([5, 6], gap="medium")
    with left, st.container(border=True):
        picture = st.container()
    with right, st.container(border=True):
        summary = st.container()
    with st.container(border=True):
        settings = st.container()
    keep_head, head, inputs, train = False, HeadSettings(), "kept", None
    with summary, catch_errors(), settings:
        note_place, head_place = st.container(), st.container()
        st.markdown("##### Training")
        # First, because the preset decides which head is suggested.
        rows, share = target_rows_and_share(dataset)
        fields, advanced = st.container(), st.expander("Advanced")
        with fields:
            chosen = training_fields(
                "ft", rows, in_url=True, default_share=share, advanced=advanced
            )
        with head_place:
            keep_head, head = choose_head(card)
        inputs = inputs_field("ft", card, advanced)
        # Only now: nothing can be launched where the head makes no sense.
        train = chosen
    with summary, catch_errors():
        with picture:
            arm = choose_strategy(card, keep_head)
            plan = make_plan(card, arm.strategy, arm.freeze_depth, head, arm.options, keep_head)
            plan = plan.with_settings(train) if train else plan
            draw_stack(card, plan)
        if is_trained(arm.strategy) and not has_learning_rate(arm.strategy):
            note_place.caption(
                f"{STRATEGIES[arm.strategy].title} is no network: of the settings below it reads "
                "validation share and seed alone; the others are for controls that run with it."
            )
        # A control has a vocabulary of its own.
        if not has_own_model(arm.strategy):
            warn_about_coverage(dataset, card, plan)
        if train:
            plan.check_epochs(train.epochs)
            request = FinetuneRequest(
                dataset.id,
                card.id,
                arm.strategy,
                arm.freeze_depth,
                head,
                train,
                options=arm.options,
                keep_head=keep_head,
                inputs=inputs_of_strategy(arm.strategy, inputs),
            )
            launch_section(dataset, card, plan, request)
            show_plan_table(plan, train.learning_rate)
    render_ack_field()
    # Start the worker and load plotly now: the first loss then appears within a second of the
    # launch.
    preload_charts()
    if train:
        ensure_worker(workspace(), queue_for_device(train.device))


st.title("Fine-tune")
st.markdown(
    "Stages below the freeze line keep what they learned; stages above it adapt to your "
    "target rows."
)
with catch_errors():
    if available := datasets_and_backbones():
        finetune_form(*available)
