"""Fine-tune: move the freeze line, choose head and training, see what it costs, launch."""

import streamlit as st

from core.data.datasets import Dataset, list_datasets
from core.errors import BadInput
from core.freezing.plan import Plan, make_plan
from core.freezing.strategies import STRATEGIES
from core.models.card import ACTIVATIONS, OUTPUTS, BackboneCard, HeadSettings
from core.models.library import list_backbones
from core.models.registry import ARCHITECTURES
from core.runs.launch import ensure_worker, preferred_lane
from core.runs.store import RunStore
from core.runs.submit import CONTROLS, command_line, submit_finetune
from core.training.estimate import estimate_seconds
from core.training.objectives import OBJECTIVES
from core.training.settings import FinetuneRequest, TrainSettings
from pages.components.access import write_button
from pages.components.choice import choose_named
from pages.components.common import (
    about,
    command_hint,
    count,
    errors_shown,
    escape_markdown,
    percent,
    short_count,
    show_error,
    simulated_badge,
    workspace,
)
from pages.components.stack import is_random, parts_in_words, stack_of_plan
from pages.components.training_fields import parse_widths, suggest, training_fields
from pages.components.vocabulary import backbone_coverage, noise_warning

FIRST_DEPTH = 1
OUTPUT_WORDS = {"logit": "one logit", "softmax": "two classes"}
NARROW = "\N{NO-BREAK SPACE}"
FROZEN, TRAINED = ":blue[frozen]", ":orange[trained]"


def choose(datasets: list[Dataset], cards: list[BackboneCard]) -> tuple[Dataset, BackboneCard]:
    """The dataset and the backbone, which the address carries."""
    left, right = st.columns(2, gap="medium")
    with left:
        dataset = choose_named("Dataset", datasets, "dataset")
        rows = {part.part: part.rows for part in dataset.parts}
        with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
            st.caption(
                f"{count(rows['target_train'])} target rows to train on, {count(rows['target_test'])} to test on",
                width="content",
            )
            if dataset.simulated:
                simulated_badge()
    with right:
        card = choose_named("Backbone", cards, "backbone")
        with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
            learnt = "trained on" if OBJECTIVES[card.objective].trains else "made for the vocabulary of"
            st.caption(
                f"{len(card.stages)} stages, {short_count(card.parameters)} parameters, {learnt} "
                f"{escape_markdown(card.trained_on['dataset'])}",
                width="content",
            )
            if card.trained_on["simulated"]:
                simulated_badge()
            if any(is_random(stage) for stage in card.stages):
                st.badge("random weights", icon=":material/casino:", color="red")
    return dataset, card


def freeze_slider(card: BackboneCard) -> int:
    """The freeze line, between the stages the backbone really has."""
    stages = len(card.stages)
    depth = st.slider(
        "Freeze depth",
        0,
        stages,
        min(FIRST_DEPTH, stages),
        key="depth",
        bind="query-params",
        help="How many stages, counted from the input, keep their weights. More keeps what was learnt, less adapts.",
    )
    with st.container(horizontal=True, horizontal_alignment="distribute"):
        st.caption("0 · full fine-tuning", width="content")
        st.caption(f"{stages} · linear probe", width="content")
    return depth


def in_words(card: BackboneCard, depth: int) -> str:
    """What this depth means."""
    titles = [stage.title for stage in card.stages]
    if depth == 0:
        return "**Full fine-tuning**: nothing is frozen, every stage and the new head train."
    if depth == len(titles):
        return "**Linear probe**: every stage is frozen, only the new head trains."
    return f"**{', '.join(titles[:depth])}** frozen; **{', '.join(titles[depth:])}** and the new head train."


def random_warning(card: BackboneCard, depth: int) -> None:
    """Warns when the freeze line covers stages that learnt nothing."""
    random = [stage.title for stage in card.stages[:depth] if is_random(stage)]
    if random:
        st.warning(
            f"Freezing **{'**, **'.join(random)}** freezes random weights: nothing was learnt there. What lies above "
            "can only make the best of a fixed random mapping.",
            icon=":material/casino:",
        )


def vocabulary_warning(dataset: Dataset, card: BackboneCard, depth: int) -> None:
    """Warns when the backbone does not know the dataset's values."""
    with errors_shown():
        warning = noise_warning(backbone_coverage(dataset, card), depth)
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


def head_fields(card: BackboneCard) -> HeadSettings:
    """The new head; under the article's preset its own backbones get its two classes first."""
    st.markdown("##### New head")
    article = bool(ARCHITECTURES[card.architecture].needs) and st.session_state.get("ft_preset") == "article"
    suggest("ft_output", "softmax" if article else "logit")
    with st.grid(3, min_column_width=150):
        hidden = st.text_input(
            "Hidden layers",
            placeholder="none",
            key="ft_hidden",
            persist_state="session",
            help="Widths such as 64, 32; empty for a single layer. Xavier-initialised.",
        )
        activation = st.selectbox(
            "Activation",
            ACTIVATIONS,
            key="ft_activation",
            persist_state="session",
            help="Between the head's hidden layers; without hidden layers it does nothing.",
        )
        output = st.selectbox(
            "Output",
            [*OUTPUTS],
            format_func=OUTPUT_WORDS.__getitem__,
            key="ft_output",
            persist_state="session",
            help="; ".join(OUTPUTS.values()).capitalize() + ".",
        )
    return HeadSettings(parse_widths(hidden, "The hidden layers"), activation, output)


def controls(card: BackboneCard) -> list[str]:
    """The controls that are ticked, of those that this backbone allows."""
    allowed = [name for name in CONTROLS if name != "zero-shot" or card.scores_clicks]
    with st.container(horizontal=True):
        st.markdown("Controls beside it:", width="content")
        chosen = [
            name
            for name in allowed
            if st.checkbox(
                STRATEGIES[name].title,
                True,
                key=f"ft_{name}",
                help=STRATEGIES[name].summary,
                persist_state="session",
                width="content",
            )
        ]
    if not card.scores_clicks:
        st.caption("No zero-shot: this backbone has no head that learnt clicks, so as it is it cannot score rows.")
    return chosen


def stage_table(plan: Plan) -> None:
    """Per stage, the head on top as in the picture: frozen or trained, parameters, and the share of the work."""
    lines = ["| :small[Stage] | | :small[Parameters] | :small[Work] |", "|:--|:--|--:|--:|"]
    work = sum(stage.flops for stage in plan.stages)
    for stage in reversed(plan.stages):
        state = FROZEN if stage.frozen else TRAINED
        cells = (escape_markdown(stage.title), state, count(stage.parameters), share_of(stage.flops, work))
        lines.append(f"| {' | '.join(f':small[{cell}]' for cell in cells)} |")
    total = plan.trained_parameters + plan.frozen_parameters
    lines.append(f"| :small[All] | | :small[{count(total)}] | :small[{share_of(work, work)}] |")
    st.markdown("\n".join(lines))
    st.caption(
        f"Work: share of one row's forward pass, {short_count(work)} operations in all. Frozen stages compute each row "
        "once, trained ones in every epoch, forwards and backwards."
    )


def share_of(part: int, whole: int) -> str:
    """A share as percent, a tiny one as less than a tenth of one."""
    share = part / whole if whole else 0.0
    return ("< 0.1 %" if 0 < share < 0.001 else percent(share)).replace(" ", NARROW)


def totals(plan: Plan, seconds: float) -> None:
    """What trains, what stays, and how long it takes."""
    total = plan.trained_parameters + plan.frozen_parameters
    with st.grid(3, min_column_width=135):
        st.metric("Trained parameters", short_count(plan.trained_parameters))
        st.metric("Frozen", percent(plan.frozen_parameters / total))
        st.metric("Estimated time", about(seconds))


def target_rows(dataset: Dataset, validation_share: float | None) -> int:
    """Target rows that train, by the cut of core.data.datasets.training_rows."""
    rows = {part.part: part.rows for part in dataset.parts}
    if validation_share is None:
        return rows["target_train"]
    both = rows["target_train"] + rows["target_validation"]
    return both - max(1, round(both * validation_share))


def launch(dataset: Dataset, card: BackboneCard, depth: int, head: HeadSettings, train: TrainSettings) -> None:
    """Cost, controls and the button, for settings that hold."""
    request = FinetuneRequest(dataset.id, card.id, "depth", depth, head, train)
    chosen = controls(card)
    history = RunStore(workspace()).list(status="done")
    rows = target_rows(dataset, train.validation_share)
    plans = [make_plan(card, strategy, depth, head) for strategy in ("depth", *chosen)]
    estimates = [estimate_seconds(plan, rows, train, history) for plan in plans]
    totals(plans[0], estimates[0].seconds)
    everything = f" With the controls {about(sum(one.seconds for one in estimates))}." if chosen else ""
    st.caption(estimates[0].basis + everything)
    if write_button("Launch", type="primary", icon=":material/play_arrow:", key="ft_launch", width="stretch"):
        runs = submit_finetune(workspace(), request, chosen)
        st.switch_page("run.py", query_params={"run": runs[0].id})
    command_hint(command_line(workspace(), request))


def form(datasets: list[Dataset], cards: list[BackboneCard]) -> None:
    """The page once there is something to fine-tune, and something to fine-tune on."""
    dataset, card = choose(datasets, cards)
    left, right = st.columns([5, 6], gap="medium")
    with left, st.container(border=True):
        depth = freeze_slider(card)
        drawing = st.container()
    with right, st.container(border=True):
        summary = st.container()
    with st.container(border=True):
        settings = st.container()
    try:
        with settings:
            head = head_fields(card)
            st.markdown("##### Training")
            train = training_fields("ft", target_rows(dataset, None))
        plan = make_plan(card, "depth", depth, head)
    except BadInput as error:
        with drawing:
            stack_of_plan(make_plan(card, "depth", depth, HeadSettings()))
        with summary:
            show_error(error)
        return
    with drawing:
        stack_of_plan(plan)
        st.markdown(in_words(card, depth))
        if shared := parts_in_words(card.stages):
            st.caption(shared)
        random_warning(card, depth)
        vocabulary_warning(dataset, card, depth)
    with summary, errors_shown():
        launch(dataset, card, depth, head, train)
        stage_table(plan)
    # The worker warms up while the user still reads: its first loss then comes within a second of the launch.
    ensure_worker(workspace(), preferred_lane(train.device))


st.title("Fine-tune")
st.markdown("Below the freeze line a stage keeps what it learnt; above it, it adapts to your target rows.")
with errors_shown():
    all_datasets = [dataset for dataset in list_datasets(workspace()) if dataset.labelled]
    all_cards = list_backbones(workspace())
    if not all_datasets:
        st.info(
            "There is no dataset with labels yet. Bring in a Criteo sample, or simulate one.",
            icon=":material/table_chart:",
        )
        st.page_link("data.py", label="Prepare a dataset", icon=":material/table_chart:")
    elif not all_cards:
        st.info("There is no backbone yet. Pretrain one on the source rows of a dataset.", icon=":material/stacks:")
        st.page_link(
            "backbones.py", label="Pretrain a backbone", icon=":material/stacks:", query_params={"section": "Pretrain"}
        )
    else:
        form(all_datasets, all_cards)
