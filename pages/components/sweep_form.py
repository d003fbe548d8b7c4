"""A new sweep: dataset and backbone, strategies, seeds and sizes, what it costs, and the button
that queues it."""

import itertools

import streamlit as st

from core.data.datasets import Dataset
from core.errors import BadInput
from core.models.card import BackboneCard, HeadSettings
from core.runs.launch import ensure_worker, preferred_lane
from core.runs.store import RunStore
from core.runs.sweep import (
    Arm,
    SweepSpec,
    estimate_sweep,
    list_sweeps,
    requests_of,
    submit_sweep,
    sweep_command_line,
)
from core.training.defaults import AUTO, count_training_rows, in_words, settings_by_size
from core.training.settings import TrainSettings
from core.workspace import PROJECT, check_name
from pages.components.access import write_button
from pages.components.choice import choose_named
from pages.components.common import (
    about,
    command_hint,
    count,
    errors_shown,
    escape_markdown,
    short_count,
    show_error,
    simulated_badge,
    workspace,
)
from pages.components.form_address import keep, left_out, news
from pages.components.head_fields import head_fields
from pages.components.heard import put
from pages.components.strategy_cards import strategy_cards
from pages.components.training_fields import MORE_FIELDS, training_fields
from pages.components.vocabulary import backbone_coverage, noise_warning

SIZES = (1000, 5000, 20_000)
"""Target sizes offered beside all rows, where there are more rows than that."""
FEW_SEEDS = 3
"""Seeds that a new sweep has, unless the user says otherwise."""
MOST_SEEDS = 50
LAUNCHED = "sweep_launched"
"""In the session, until its page is shown: a sweep was just launched from wherever the form was
scrolled to."""
HALVINGS = {
    0: "off: all to the end",
    2: "keep the best half",
    3: "keep the best third",
    4: "keep the best quarter",
}


def sweep_form(datasets: list[Dataset], cards: list[BackboneCard]) -> None:
    """The whole form; a click on its button queues the sweep and shows it."""
    st.html(f"<style>{(PROJECT / 'assets' / 'sweep.css').read_text(encoding='utf-8')}</style>")
    dataset, card = _choose(datasets, cards)
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
        with settings_place:
            head, train = _settings(dataset)
        with runs_place:
            seeds, sizes, rates, halving = _runs(dataset)
        with cards_place:
            arms = strategy_cards(card, head, train)
        by_size = _by_size(dataset, sizes, train)
        spec = _spec(dataset, card, arms, seeds, sizes, rates, head, by_size, halving)
    except BadInput as error:
        with summary:
            show_error(error)
        return
    with summary, errors_shown():
        _launch(dataset, card, spec)
    # The worker warms up while the user still reads.
    ensure_worker(workspace(), preferred_lane(train.device))


def _choose(datasets: list[Dataset], cards: list[BackboneCard]) -> tuple[Dataset, BackboneCard]:
    left, right = st.columns(2, gap="medium")
    with left:
        dataset = choose_named("Dataset", datasets, "dataset")
        rows = {part.part: part.rows for part in dataset.parts}
        with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
            words = (
                f"{count(rows['target_train'])} target rows to train on,"
                f" {count(rows['target_test'])} to test on"
            )
            st.caption(words, width="content")
            if dataset.simulated:
                simulated_badge()
    with right:
        card = choose_named("Backbone", cards, "backbone")
        with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
            trained_on = escape_markdown(card.trained_on["dataset"])
            words = (
                f"{len(card.stages)} stages, {short_count(card.parameters)} parameters, trained on"
                f" {trained_on}"
            )
            st.caption(words, width="content")
            if card.trained_on["simulated"]:
                simulated_badge()
    with errors_shown():
        warning = noise_warning(backbone_coverage(dataset, card), 1)
        if warning:
            st.warning(warning, icon=":material/warning:")
    return dataset, card


def _settings(dataset: Dataset) -> tuple[HeadSettings, TrainSettings]:
    st.markdown("##### Head and training :gray[· the same for every arm]")
    head = head_fields("sweep")
    rows = count_training_rows(dataset, "target")
    return head, training_fields("sweep", rows, seeded=False, in_address=True)


def _by_size(
    dataset: Dataset, sizes: tuple[int, ...], train: TrainSettings
) -> tuple[TrainSettings, ...]:
    """The settings of each target size: as the fields say, but with the preset "auto" by the size's
    number of rows."""
    if st.session_state.get("sweep_preset") != AUTO:
        return (train,) * len(sizes)
    given = {name: getattr(train, name) for name in MORE_FIELDS}
    return tuple(settings_by_size(dataset, sizes, AUTO, given))


def _runs(dataset: Dataset) -> tuple[int, tuple[int, ...], tuple[float, ...], int]:
    """(number of seeds, target sizes, learning rates, halving factor)."""
    st.markdown("##### Every arm, over")
    rows = {part.part: part.rows for part in dataset.parts}
    there = rows["target_train"] + rows["target_validation"]
    sizes = [size for size in SIZES if size < there]
    sizes_key = f"sweep_sizes_{dataset.id}"
    st.session_state.setdefault(sizes_key, [0])
    st.session_state.setdefault("seeds", FEW_SEEDS)
    _from_address(sizes_key, [*sizes, 0])
    with st.grid(2, min_column_width=180):
        seeds = st.number_input(
            "Seeds",
            min_value=1,
            max_value=MOST_SEEDS,
            value=None,
            step=1,
            key="seeds",
            persist_state="session",
            help=(
                "Each seed is another new head, row order and dropout. One seed cannot tell luck"
                " from strategy."
            ),
        )
        chosen = st.pills(
            "Target rows",
            [*sizes, 0],
            selection_mode="multi",
            format_func=_size_text,
            key=sizes_key,
            persist_state="session",
            wrap=True,
            help=(
                "The last so many rows to train and validate on; smaller sizes lie within larger"
                " ones."
            ),
        )
        rates = st.text_input(
            "Learning rates",
            placeholder="as below",
            key="sweep_rates",
            persist_state="session",
            help=(
                "Several, such as 1e-3, 3e-4, run every arm with each. Empty: the one under Head"
                " and training."
            ),
        )
        halving = st.selectbox(
            "Successive halving",
            [*HALVINGS],
            format_func=HALVINGS.__getitem__,
            key="sweep_halving",
            persist_state="session",
            help=(
                "Saves time: after a few epochs, and again later, only the arms with the lowest"
                " validation loss (mean over seeds) train on. The others end there, are marked so,"
                " and their numbers are of that epoch. An arm that starts slowly may be ended too"
                " soon: leave it off for a last comparison. Controls train to the end."
            ),
        )
    if seeds is None:
        raise BadInput("The field for the number of seeds is empty; put a number in.")
    if not chosen:
        raise BadInput("No number of target rows is chosen; choose at least one.")
    if not sizes:
        st.caption(
            f"Smaller targets than all {count(there)} rows can be chosen from {count(SIZES[0])}"
            " rows on."
        )
    found = tuple(sorted(chosen, key=lambda size: size or there))
    keep("seeds", str(int(seeds)), str(FEW_SEEDS))
    keep("sizes", ",".join(map(_size_text, found)), _size_text(0))
    keep("rates", rates)
    keep("halving", str(halving), "0")
    return int(seeds), found, _rates(rates), halving


def _size_text(size: int) -> str:
    return f"{size // 1000}k" if size else "all"


def _from_address(sizes_key: str, offered: list[int]) -> None:
    """Fills target sizes and learning rates with what the address brings."""
    sizes, rates, halving, seeds = news("sizes"), news("rates"), news("halving"), news("seeds")
    if seeds is not None:
        # Streamlit's own binding ends the page over "inf", or a number of more digits than a float
        # has.
        known = (
            seeds.isascii()
            and seeds.isdigit()
            and len(seeds) < 10
            and 1 <= int(seeds) <= MOST_SEEDS
        )
        if not known:
            left_out(seeds, f"The number of seeds is 1 to {MOST_SEEDS}.")
        put("seeds", int(seeds) if known else FEW_SEEDS)
    if sizes is not None:
        by_text = {_size_text(size): size for size in offered}
        for text in sizes.split(","):
            if text not in by_text:
                left_out(
                    text, f"The target sizes that this dataset allows are {', '.join(by_text)}."
                )
        put(
            sizes_key,
            [by_text[text] for text in dict.fromkeys(sizes.split(",")) if text in by_text],
        )
    if rates is not None:
        put("sweep_rates", rates)
    if halving is not None:
        factors = {str(factor): factor for factor in HALVINGS}
        if halving not in factors:
            left_out(halving, f"Successive halving takes one of {', '.join(factors)}.")
        put("sweep_halving", factors.get(halving, 0))


def _rates(text: str) -> tuple[float, ...]:
    try:
        rates = tuple(float(part) for part in text.replace(" ", ",").split(",") if part)
    except ValueError:
        raise BadInput(
            f"The learning rates are {text[:40]!r}; write numbers such as 1e-3, 3e-4."
        ) from None
    return tuple(dict.fromkeys(rates))


def _spec(
    dataset: Dataset,
    card: BackboneCard,
    arms: list[Arm],
    seeds: int,
    sizes: tuple[int, ...],
    rates: tuple[float, ...],
    head: HeadSettings,
    by_size: tuple[TrainSettings, ...],
    halving: int,
) -> SweepSpec:
    if not arms:
        raise BadInput("Nothing is ticked; tick at least one freeze depth or strategy.")
    train, differ = by_size[-1], len(set(by_size)) > 1
    return SweepSpec(
        dataset.id,
        card.id,
        tuple(arms),
        tuple(range(seeds)),
        rates,
        sizes,
        head,
        train,
        halving,
        train_by_size=by_size if differ else (),
    )


def _launch(dataset: Dataset, card: BackboneCard, spec: SweepSpec) -> None:
    """How many runs, how long, the name, the button and the command."""
    runs = len(requests_of(spec))
    estimate = estimate_sweep(dataset, card, spec, RunStore(workspace()).list(status="done"))
    left, right = st.columns([1, 2], wrap=False)
    left.metric("Runs", count(runs))
    right.metric("Estimated time", about(estimate.seconds))
    st.caption(f"{_product(spec)}. {estimate.basis}")
    if spec.train_by_size:
        lines = [
            f"- {count(count_training_rows(dataset, 'target', last=size))} training rows:"
            f" {in_words(train)}"
            for size, train in zip(spec.target_sizes, spec.train_by_size, strict=True)
        ]
        st.caption(
            "\n".join(["By the preset auto each target size has its own settings:", "", *lines])
        )
    suggestion = _free_name(f"{card.name} on {dataset.name}")
    name = (
        st.text_input(
            "Name",
            placeholder=suggestion,
            key="sweep_name",
            max_chars=64,
            help="What lists and commands call the sweep; it changes no result.",
        )
        or suggestion
    )
    if write_button(
        f"Start {count(runs)} run{'s' if runs > 1 else ''}",
        type="primary",
        icon=":material/play_arrow:",
        key="sweep_launch",
        width="stretch",
    ):
        sweep = submit_sweep(workspace(), spec, name)
        st.query_params.from_dict({"sweep": sweep.id})
        st.session_state[LAUNCHED] = True
        st.rerun()
    if len(spec.seeds) == 1:
        st.caption(
            ":material/info: With one seed the verdicts hold for that seed's luck alone; three tell"
            " more."
        )
    if len(spec.arms) == 1:
        st.caption(
            ":material/info: One arm alone is held against nothing; tick another, such as a"
            " control."
        )
    command_hint(sweep_command_line(workspace(), spec, check_name(name, "sweep")))


def _product(spec: SweepSpec) -> str:
    """How the number of runs comes about: "7 arms × 3 seeds, zero-shot once"."""
    words = [_number(len(spec.arms), "arm"), _number(len(spec.seeds), "seed")]
    if len(spec.target_sizes) > 1:
        words.append(_number(len(spec.target_sizes), "target size"))
    if len(spec.learning_rates) > 1:
        words.append(_number(len(spec.learning_rates), "learning rate"))
    once = len(requests_of(spec)) > 1 and any(arm.strategy == "zero-shot" for arm in spec.arms)
    return " × ".join(words) + (", zero-shot once" if once else "")


def _number(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number != 1 else ''}"


def _free_name(wanted: str) -> str:
    """`wanted`, cut to what a name may be, with the first number behind it that no sweep has."""
    taken = {sweep.name for sweep in list_sweeps(workspace())}
    for number in itertools.count(1):
        ending = f" {number}" if number > 1 else ""
        name = wanted[: 64 - len(ending)] + ending
        if name not in taken:
            return name
    raise AssertionError
