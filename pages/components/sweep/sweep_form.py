"""The form of a new sweep.

It asks for the dataset and backbone, strategies, seeds and sizes, and shows the cost and the
button.
"""

import dataclasses
import itertools

import streamlit as st

from core.data.datasets import Dataset
from core.data.windows import count_window_runs
from core.errors import BadInput
from core.freezing.heads import NEW_HEAD_PRESETS
from core.freezing.inputs import REFITTED_SENTENCE
from core.freezing.strategies import has_learning_rate, has_seed, is_trained
from core.jobs.requests import TrainSettings
from core.jobs.store import RunStore
from core.models.card import BackboneCard, HeadSettings
from core.runs.command_lines import sweep_command_line
from core.runs.default_blend import BLEND_SENTENCE, can_blend
from core.runs.launch import ensure_worker, queue_for_device
from core.runs.sweep import (
    Arm,
    Sweep,
    SweepSpec,
    expand_requests,
    list_sweeps,
    plan_arms,
    rates_sentence,
    submit_sweep,
)
from core.runs.sweep_estimate import estimate_sweep
from core.training.default_settings import (
    AUTO,
    count_training_rows,
    describe_settings,
    rates_to_try,
    settings_by_size,
    target_rows_and_share,
)
from core.workspace import PROJECT, check_name
from pages.components.shared import url_state
from pages.components.shared.access import guarded_button
from pages.components.shared.choosers import choose_dataset_and_backbone
from pages.components.shared.common import NAME_HELP, show_command, workspace
from pages.components.shared.errors import catch_errors, show_error
from pages.components.shared.formatting import format_approx_duration, format_int
from pages.components.shared.head_fields import head_fields
from pages.components.shared.inputs_field import inputs_field
from pages.components.shared.training_fields import MORE_FIELDS, training_fields
from pages.components.shared.vocabulary_coverage import cached_coverage, coverage_warning
from pages.components.shared.widget_sync import set_value
from pages.components.sweep.strategy_cards import strategy_cards
from pages.components.sweep.window_fields import rows_of_choice, window_fields

TARGET_SIZES = (1000, 5000, 20_000)
"""Target sizes that are offered besides all rows, if the dataset has more rows."""
DEFAULT_SEEDS = 3
"""Default number of seeds of a new sweep."""
MAX_SEEDS = 50
JUST_LAUNCHED = "sweep_launched"
"""In the session until the sweep is shown: it was just launched, so scroll to the top."""
HALVING_TITLES = {
    0: "off: train all arms to the end",
    2: "keep the best half",
    3: "keep the best third",
    4: "keep the best quarter",
}


def sweep_form(datasets: list[Dataset], cards: list[BackboneCard]) -> None:
    """Draw the whole form; its button queues the sweep and opens it."""
    st.html(f"<style>{(PROJECT / 'assets' / 'sweep.css').read_text(encoding='utf-8')}</style>")
    dataset, card = choose_dataset_and_backbone(datasets, cards)
    _warn_about_coverage(dataset, card)
    left, right = st.columns([7, 3], gap="large")
    with left:
        cards_place, runs_place, settings_place = (
            st.container(),
            st.container(border=True),
            st.container(border=True),
        )
    with right, st.container(key="sweep_summary", border=True):
        summary = st.container()
    try:
        with runs_place:
            st.markdown("##### Runs per arm")
            runs_fields, windows_place = st.container(), st.container()
        with windows_place:
            windows = window_fields(dataset)
            trained = rows_of_choice(dataset, windows)
        with settings_place:
            keep_head, head, inputs, train = settings_fields(trained, card)
        with runs_fields:
            rolling = bool(windows.windows)
            seeds, sizes, named_rates, choose_rate, halving = _runs_fields(dataset, rolling)
            # Windows have rows of their own, so that no blend is made of them by default.
            blend = not rolling and _blend_field()
        with cards_place:
            arms = strategy_cards(dataset, card, head, train, keep_head)
        by_size = _settings_by_size(trained, sizes, train)
        rates = rates_to_try(named_rates, by_size[-1].learning_rate, choose_rate)
        spec = _make_spec(
            dataset,
            card,
            arms,
            seeds,
            sizes,
            rates,
            head,
            by_size,
            halving,
            keep_head,
            inputs,
            blend,
        )
        spec = dataclasses.replace(
            spec,
            windows=windows.windows,
            window_start=windows.start,
            window_column=windows.column,
        )
    except BadInput as error:
        with summary:
            show_error(error)
        return
    with summary, catch_errors():
        _launch(dataset, card, spec)
    # Start the worker now, so that it is ready when the user launches.
    ensure_worker(workspace(), queue_for_device(train.device))


def _warn_about_coverage(dataset: Dataset, card: BackboneCard) -> None:
    with catch_errors():
        warning = coverage_warning(cached_coverage(dataset, card), 1)
        if warning:
            st.warning(warning, icon=":material/warning:")


def settings_fields(
    dataset: Dataset, card: BackboneCard, note: str = "the same for every arm"
) -> tuple[bool, HeadSettings, str, TrainSettings]:
    """Return (whether the backbone's head is kept, the head that trains, inputs, settings)."""
    st.markdown(f"##### Head and training :gray[· {note}]")
    head_place = st.container()
    rows, share = target_rows_and_share(dataset)
    # First, because the preset decides which head is suggested.
    fields, advanced = st.container(), st.expander("Advanced")
    with fields:
        train = training_fields(
            "sweep", rows, with_seed=False, in_url=True, default_share=share, advanced=advanced
        )
    with head_place:
        article = st.session_state.get("sweep_preset") in NEW_HEAD_PRESETS
        keep_head, head = head_fields("sweep", card, article)
    return keep_head, head, inputs_field("sweep", card, advanced), train


def _settings_by_size(
    dataset: Dataset, sizes: tuple[int, ...], train: TrainSettings
) -> tuple[TrainSettings, ...]:
    """Return the training settings of each target size.

    They differ for the preset "auto", which depends on the number of rows.
    """
    if st.session_state.get("sweep_preset") != AUTO:
        return (train,) * len(sizes)
    given = {name: getattr(train, name) for name in MORE_FIELDS}
    return tuple(settings_by_size(dataset, sizes, AUTO, given))


def _runs_fields(
    dataset: Dataset, rolling: bool
) -> tuple[int, tuple[int, ...], tuple[float, ...], bool, int]:
    """Return (seeds, target sizes, named learning rates, whether to choose one, halving).

    Args:
        dataset: of the sweep.
        rolling: whether windows say which rows train, so that there are neither sizes nor halving.
    """
    rows = {part.part: part.rows for part in dataset.parts}
    n_rows = rows["target_train"] + rows["target_validation"]
    sizes = [size for size in TARGET_SIZES if size < n_rows]
    sizes_key = f"sweep_sizes_{dataset.id}"
    st.session_state.setdefault(sizes_key, [0])
    st.session_state.setdefault("seeds", DEFAULT_SEEDS)
    st.session_state.setdefault("sweep_choose", True)
    _read_url(sizes_key, [*sizes, 0])
    with st.grid(2, min_column_width=180):
        seeds = st.number_input(
            "Seeds",
            min_value=1,
            max_value=MAX_SEEDS,
            value=None,
            step=1,
            key="seeds",
            persist_state="session",
            help=(
                "Each seed gives another row order and dropout, and another new head where the "
                "head is new. One seed cannot separate chance from the effect of a strategy."
            ),
        )
        chosen = st.pills(
            "Target rows",
            [*sizes, 0],
            selection_mode="multi",
            format_func=_size_text,
            key=sizes_key,
            persist_state="session",
            disabled=rolling,
            wrap=True,
            help=(
                "Number of rows, from the end, to train and validate on; smaller sizes are "
                "subsets of larger ones."
            ),
        )
        rates = st.text_input(
            "Learning rates",
            placeholder="around the one below",
            key="sweep_rates",
            persist_state="session",
            help=(
                "Every arm runs with each of these, such as 1e-3, 3e-4. Empty: four rates around "
                "the one below to choose from, or that one alone if none is chosen."
            ),
        )
        halving = st.selectbox(
            "Successive halving",
            [*HALVING_TITLES],
            format_func=HALVING_TITLES.__getitem__,
            key="sweep_halving",
            persist_state="session",
            disabled=rolling,
            help=(
                "Saves time: after a few epochs, and again later, only the arms with the "
                "lowest validation loss (mean over seeds) continue. The others stop there, "
                "are marked as stopped, and report the metrics of that epoch. An arm that "
                "starts slowly may be stopped too early, so leave it off for a final "
                "comparison. Controls train to the end."
            ),
        )
    choose_rate = st.checkbox(
        "Choose each arm's learning rate on validation rows",
        key="sweep_choose",
        persist_state="session",
        help=(
            "Every arm is tried with the same rates and seeds, and reported at the one with the "
            "lowest mean validation log loss, so that no arm is better only because its rate was. "
            "It takes as many times the runs as there are rates. Off: each learning rate is a "
            "setting of its own."
        ),
    )
    if seeds is None:
        raise BadInput("Enter the number of seeds.")
    if rolling:
        # What the two fields say is kept for a sweep without windows.
        chosen, halving = [0], 0
    if not chosen:
        raise BadInput("Choose at least one number of target rows.")
    if not sizes:
        st.caption(
            f"Smaller targets than all {format_int(n_rows)} rows can be chosen from "
            f"{format_int(TARGET_SIZES[0])} rows on."
        )
    target_sizes = tuple(sorted(chosen, key=lambda size: size or n_rows))
    url_state.write("seeds", str(int(seeds)), str(DEFAULT_SEEDS))
    url_state.write("sizes", ",".join(map(_size_text, target_sizes)), _size_text(0))
    url_state.write("rates", rates)
    url_state.write("choose", "1" if choose_rate else "0", "1")
    url_state.write("halving", str(halving), "0")
    return int(seeds), target_sizes, _parse_rates(rates), choose_rate, halving


def _blend_field() -> bool:
    """Return whether a blend is made when the runs have ended. The URL carries it."""
    if (text := url_state.read_new("blend")) is not None:
        if text not in ("0", "1"):
            url_state.warn_ignored(text, "It is 1 to blend when the runs have ended, else 0.")
        set_value("sweep_default_blend", text != "0")
    st.session_state.setdefault("sweep_default_blend", True)
    blend = st.checkbox(
        "Blend the leading network with gradient boosting",
        key="sweep_default_blend",
        persist_state="session",
        help=(
            "Once all runs have ended, where the sweep has both; weights are fitted on validation"
            " rows. The blend is a further arm of the sweep."
        ),
    )
    url_state.write("blend", "1" if blend else "0", "1")
    return blend


def _size_text(size: int) -> str:
    return f"{size // 1000}k" if size else "all"


def _read_url(sizes_key: str, offered: list[int]) -> None:
    """Fill seeds, target sizes, learning rates, their choice and halving from the URL."""
    sizes, rates, halving, seeds = (
        url_state.read_new("sizes"),
        url_state.read_new("rates"),
        url_state.read_new("halving"),
        url_state.read_new("seeds"),
    )
    if seeds is not None:
        # Not Streamlit's `bind`: it raises for "inf" and for numbers too large for a float.
        known = (
            seeds.isascii() and seeds.isdigit() and len(seeds) < 10 and 1 <= int(seeds) <= MAX_SEEDS
        )
        if not known:
            url_state.warn_ignored(seeds, f"The number of seeds is 1 to {MAX_SEEDS}.")
        set_value("seeds", int(seeds) if known else DEFAULT_SEEDS)
    if sizes is not None:
        by_text = {_size_text(size): size for size in offered}
        for text in sizes.split(","):
            if text not in by_text:
                url_state.warn_ignored(
                    text, f"The target sizes that this dataset allows are {', '.join(by_text)}."
                )
        set_value(
            sizes_key,
            [by_text[text] for text in dict.fromkeys(sizes.split(",")) if text in by_text],
        )
    if rates is not None:
        set_value("sweep_rates", rates)
    if (choose := url_state.read_new("choose")) is not None:
        if choose not in ("0", "1"):
            url_state.warn_ignored(choose, "It is 1 to choose each arm's learning rate, else 0.")
        set_value("sweep_choose", choose != "0")
    if halving is not None:
        factors = {str(factor): factor for factor in HALVING_TITLES}
        if halving not in factors:
            url_state.warn_ignored(
                halving, f"Successive halving takes one of {', '.join(factors)}."
            )
        set_value("sweep_halving", factors.get(halving, 0))


def _parse_rates(text: str) -> tuple[float, ...]:
    try:
        rates = tuple(float(part) for part in text.replace(" ", ",").split(",") if part)
    except ValueError:
        raise BadInput(
            f"The learning rates are {text[:40]!r}; write numbers such as 1e-3, 3e-4."
        ) from None
    return tuple(dict.fromkeys(rates))


def _make_spec(
    dataset: Dataset,
    card: BackboneCard,
    arms: list[Arm],
    seeds: int,
    sizes: tuple[int, ...],
    rates: tuple[tuple[float, ...], bool],
    head: HeadSettings,
    by_size: tuple[TrainSettings, ...],
    halving: int,
    keep_head: bool,
    inputs: str,
    blend: bool,
) -> SweepSpec:
    if not arms:
        raise BadInput("Select at least one freeze depth or strategy.")
    train, differ = by_size[-1], len(set(by_size)) > 1
    learning_rates, choose_rate = rates
    return SweepSpec(
        dataset.id,
        card.id,
        tuple(arms),
        tuple(range(seeds)),
        learning_rates,
        sizes,
        head,
        train,
        halving,
        train_by_size=by_size if differ else (),
        keep_head=keep_head,
        inputs=inputs,
        choose_rate=choose_rate,
        blend=blend and can_blend(arms),
    )


def _launch(dataset: Dataset, card: BackboneCard, spec: SweepSpec) -> None:
    """Show the number of runs, the estimated time, the name, the button and the command."""
    runs = len(expand_requests(spec))
    estimate = estimate_sweep(
        dataset, plan_arms(card, spec), spec, RunStore(workspace()).list(status="done")
    )
    left, right = st.columns([1, 2], wrap=False)
    left.metric("Runs", format_int(runs))
    right.metric("Estimated time", format_approx_duration(estimate.seconds))
    st.caption(f"{_describe_run_count(spec)}. {estimate.explanation}")
    if spec.inputs == "refitted":
        st.caption(REFITTED_SENTENCE)
    if spec.choose_rate:
        st.caption(rates_sentence(spec))
    if spec.blend:
        st.caption(BLEND_SENTENCE)
    if spec.train_by_size:
        lines = [
            f"- {format_int(_count_rows(dataset, train, size))} training rows:"
            f" {describe_settings(train)}"
            for size, train in zip(spec.target_sizes, spec.train_by_size, strict=True)
        ]
        st.caption(
            "\n".join(["With the preset auto each target size has its own settings:", "", *lines])
        )
    name = name_field(f"{card.name} on {dataset.name}", "sweep_name")
    if guarded_button(
        f"Start {format_int(runs)} run{'s' if runs > 1 else ''}",
        type="primary",
        icon=":material/play_arrow:",
        key="sweep_launch",
        width="stretch",
    ):
        show_launched(submit_sweep(workspace(), spec, name))
    if len(spec.seeds) == 1:
        st.caption(
            ":material/info: With one seed the verdicts do not account for seed noise; "
            "three are better."
        )
    if len(spec.arms) == 1:
        st.caption(
            ":material/info: One arm has nothing to be compared with; select another, such "
            "as a control."
        )
    show_command(sweep_command_line(workspace(), spec, check_name(name, "sweep")))


def _count_rows(dataset: Dataset, train: TrainSettings, size: int) -> int:
    return count_training_rows(dataset, "target", train.validation_share, size)


def _describe_run_count(spec: SweepSpec) -> str:
    """Explain the number of runs, as in "7 arms × 3 seeds, zero-shot once"."""
    words = [_pluralise(len(spec.arms), "arm"), _pluralise(len(spec.seeds), "seed")]
    if len(spec.target_sizes) > 1:
        words.append(_pluralise(len(spec.target_sizes), "target size"))
    if spec.windows:
        words.append(_pluralise(count_window_runs(spec.windows), "trained window"))
    if len(spec.learning_rates) > 1:
        words.append(_pluralise(len(spec.learning_rates), "learning rate"))
    controls = [arm for arm in spec.arms if not has_learning_rate(arm.strategy)]
    at_one_rate = [arm.title for arm in controls if is_trained(arm.strategy)]
    if len(spec.learning_rates) > 1 and at_one_rate:
        words[-1] += f" ({', '.join(at_one_rate)}: no rate)"
    several = len(expand_requests(spec)) > 1
    per_window = " a window" if spec.windows else ""
    untrained = [arm for arm in controls if several and not is_trained(arm.strategy)]
    once = [f"{arm.title} once{per_window}" for arm in untrained]
    if len(spec.seeds) > 1:
        each = " for each size" if len(spec.target_sizes) > 1 else per_window
        seedless = [arm for arm in controls if not has_seed(arm.strategy)]
        once += [f"{arm.title} once{each}" for arm in seedless if is_trained(arm.strategy)]
    return ", ".join([" × ".join(words), *once])


def _pluralise(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number != 1 else ''}"


def name_field(wanted: str, key: str) -> str:
    """Draw the field of a sweep's or search's name; return what it holds, or a free name.

    Args:
        wanted: the name if the user writes none, shortened or with a number if needed.
        key: of the widget.
    """
    suggestion = _free_name(wanted)
    typed = st.text_input("Name", placeholder=suggestion, key=key, max_chars=64, help=NAME_HELP)
    return typed or suggestion


def show_launched(sweep: Sweep) -> None:
    """Open the page of a sweep or search that was just submitted."""
    url_state.replace(sweep=sweep.id)
    st.session_state[JUST_LAUNCHED] = True
    st.rerun()


def _free_name(wanted: str) -> str:
    """Return `wanted`, shortened if needed, with the first number appended that no sweep has."""
    taken = {sweep.name for sweep in list_sweeps(workspace())}
    for number in itertools.count(1):
        ending = f" {number}" if number > 1 else ""
        name = wanted[: 64 - len(ending)] + ending
        if name not in taken:
            return name
    raise AssertionError
