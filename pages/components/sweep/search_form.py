"""The form of a new search within a budget."""

import streamlit as st

from core.data.datasets import Dataset
from core.errors import BadInput
from core.freezing.plan import make_plan
from core.freezing.strategies import STRATEGIES, is_control
from core.jobs.store import RunStore
from core.models.card import BackboneCard, HeadSettings
from core.runs.command_lines import sweep_command_line
from core.runs.launch import ensure_worker, queue_for_device
from core.runs.search import check_search, submit_search
from core.runs.search_defaults import DEFAULT_SEARCH_RUNS, default_strategies, make_search_spec
from core.runs.search_result import estimate_search, judging_runs, search_sentence
from core.runs.search_spec import MAX_SEARCH_RUNS, PRUNERS, SearchSpec
from core.runs.sweep import Arm, SweepSpec, depth_arms, plan_arms
from core.workspace import check_name
from pages.components.shared.access import guarded_button
from pages.components.shared.choosers import choose_dataset_and_backbone
from pages.components.shared.common import show_command, workspace
from pages.components.shared.errors import catch_errors, show_error
from pages.components.shared.formatting import format_approx_duration
from pages.components.sweep.sweep_form import name_field, settings_fields, show_launched

PRUNER_TITLES = {"median": "end runs above the median early", "none": "train every run to its end"}
NEEDS_OPTIONS = ("depth", "surgical")
"""Strategies that are no single choice: depths have entries of their own, surgical needs stages."""


def search_form(datasets: list[Dataset], cards: list[BackboneCard]) -> None:
    """Draw the whole form; its button queues the search and opens it."""
    dataset, card = choose_dataset_and_backbone(datasets, cards)
    left, right = st.columns([7, 3], gap="large")
    with left:
        budget_place, space_place, settings_place = (
            st.container(border=True),
            st.container(border=True),
            st.container(border=True),
        )
    with right, st.container(key="search_summary", border=True):
        summary = st.container()
    try:
        with settings_place:
            keep_head, head, inputs, train = settings_fields(
                dataset, card, "what the search starts from, and compares its winner with"
            )
        with budget_place:
            search, seeds = _budget_fields()
        with space_place:
            arms, rates, decays = _space_fields(card, head, keep_head)
        spec = make_search_spec(
            dataset,
            card,
            search,
            train,
            head,
            keep_head,
            arms,
            rates,
            decays,
            seeds=seeds,
            inputs=inputs,
        )
        check_search(card, spec)
    except BadInput as error:
        with summary:
            show_error(error)
        return
    with summary, catch_errors():
        _launch(dataset, card, spec)
    ensure_worker(workspace(), queue_for_device(train.device))


def _budget_fields() -> tuple[SearchSpec, int]:
    """Return the search with its budget, and the number of seeds that judge its winner."""
    st.markdown("##### Budget")
    with st.grid(3, min_column_width=170):
        runs = st.number_input(
            "Runs",
            0,
            MAX_SEARCH_RUNS,
            DEFAULT_SEARCH_RUNS,
            key="search_runs",
            help="How many runs the search may take; 0 for no bound, which needs minutes.",
        )
        minutes = st.number_input(
            "Minutes",
            0.0,
            None,
            0.0,
            1.0,
            format="%g",
            key="search_minutes",
            help="How long its runs may take in all; 0 for no bound. A run that has begun ends.",
        )
        seeds = st.number_input(
            "Seeds for the winner",
            1,
            50,
            3,
            key="search_seeds",
            help=(
                "The winner, full fine-tuning and zero-shot are trained and tested once with these "
                "seeds, which the search has not used."
            ),
        )
        pruner = st.selectbox(
            "Pruning",
            PRUNERS,
            format_func=PRUNER_TITLES.__getitem__,
            key="search_pruner",
            help=(
                "From the second epoch on, a run whose validation loss is above the median of the "
                "others after as many epochs is ended."
            ),
        )
        trial_seeds = st.number_input(
            "Seeds per setting",
            1,
            20,
            1,
            key="search_trial_seeds",
            help="Each setting takes this many runs of the budget; their mean loss counts.",
        )
        sampler_seed = st.number_input(
            "Seed of the search",
            0,
            2**31 - 1,
            0,
            key="search_seed",
            help="The same seed and the same losses give the same suggestions.",
        )
    search = SearchSpec(
        runs=int(runs or 0),
        minutes=float(minutes or 0),
        seed=int(sampler_seed or 0),
        trial_seeds=int(trial_seeds or 1),
        pruner=pruner or PRUNERS[0],
    )
    return search, int(seeds or 1)


def _space_fields(
    card: BackboneCard, head: HeadSettings, keep_head: bool
) -> tuple[list[Arm], list[float], list[float] | None]:
    """Return the strategies, and the rates and weight decays that were named."""
    st.markdown("##### What is searched")
    offered = {arm.title: arm for arm in _possible_arms(card, head, keep_head)}
    heads = ("keep", "new") if keep_head else ("new",)
    first = [arm.title for arm in default_strategies(card, head, heads)]
    chosen = st.multiselect(
        "Strategies",
        [*offered],
        default=first,
        key=f"search_arms_{card.id}_{keep_head}",
        help="The search chooses among these. With fewer it knows more of each.",
    )
    with st.grid(2, min_column_width=200):
        rates = st.text_input(
            "Learning rates",
            placeholder="a tenth of the one below, to ten times it",
            key="search_rates",
            help="The lowest and the highest one, such as 1e-5, 1e-3.",
        )
        decays = st.text_input(
            "Weight decays",
            placeholder="0, 1e-4, 1e-3, 1e-2",
            key="search_decays",
            help="The values to choose from.",
        )
    if not chosen:
        raise BadInput("Choose at least one strategy.")
    return [offered[title] for title in chosen], _numbers(rates), _numbers(decays) or None


def _possible_arms(card: BackboneCard, head: HeadSettings, keep_head: bool) -> list[Arm]:
    """Return every freeze depth, and the strategies that this backbone can have."""
    arms = [*depth_arms(card)]
    for name in STRATEGIES:
        if is_control(name) or name in NEEDS_OPTIONS:
            continue
        try:
            for keep in {False, keep_head}:
                make_plan(card, name, 0, head, {}, keep)
        except BadInput:
            continue
        arms.append(Arm(name))
    return arms


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.replace(",", " ").split()]
    except ValueError:
        raise BadInput(f"{text[:40]!r} is no list of numbers such as 1e-4, 1e-3.") from None


def _launch(dataset: Dataset, card: BackboneCard, spec: SweepSpec) -> None:
    """Show the budget, the estimated time, the name, the button and the command."""
    assert spec.search is not None
    history = RunStore(workspace()).list(status="done")
    estimate, judging = estimate_search(dataset, plan_arms(card, spec), spec, history)
    st.metric("Search", format_approx_duration(estimate.seconds))
    st.metric(
        f"Then at most {judging_runs(spec, card.scores_clicks)} runs to judge the winner",
        format_approx_duration(judging),
    )
    st.caption(f"{search_sentence(spec)} {estimate.explanation}")
    name = name_field(f"search {card.name} on {dataset.name}", "search_name")
    if guarded_button(
        "Start the search",
        type="primary",
        icon=":material/search:",
        key="search_launch",
        width="stretch",
    ):
        show_launched(submit_search(workspace(), spec, name))
    show_command(sweep_command_line(workspace(), spec, check_name(name, "search")))
