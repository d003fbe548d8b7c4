"""What a search tries unless it is told: strategies, heads, learning rates and weight decays."""

import dataclasses
from collections.abc import Sequence

from core.data.datasets import Dataset
from core.errors import BadInput
from core.freezing.heads import default_keep_head
from core.freezing.plan import make_plan
from core.jobs.requests import TrainSettings
from core.models.card import BackboneCard, HeadSettings
from core.runs.search_spec import WEIGHT_DECAYS, SearchSpec, default_rates
from core.runs.sweep import Arm, SweepSpec, depth_arms

OTHER_STRATEGIES = ("decay", "lora")
"""Strategies that a search tries by default beside every freeze depth. There are few: with each one
more, a search of twenty runs knows less of all others."""
DEFAULT_SEARCH_RUNS = 20
"""Runs of a search that is given neither runs nor minutes."""


def default_strategies(
    card: BackboneCard, head: HeadSettings, heads: Sequence[str]
) -> tuple[Arm, ...]:
    """Return every freeze depth of a backbone, and those of OTHER_STRATEGIES that it can have."""
    arms = [*depth_arms(card)]
    for name in OTHER_STRATEGIES:
        try:
            for one in heads:
                make_plan(card, name, 0, head, {}, one == "keep")
        except BadInput:
            continue
        arms.append(Arm(name))
    return tuple(arms)


def make_search_spec(
    dataset: Dataset,
    card: BackboneCard,
    search: SearchSpec,
    train: TrainSettings,
    head: HeadSettings,
    keep_head: bool,
    arms: Sequence[Arm] = (),
    rates: Sequence[float] = (),
    weight_decays: Sequence[float] | None = None,
    head_choice: str | None = None,
    seeds: int = 3,
    target_rows: int = 0,
    inputs: str = "kept",
) -> SweepSpec:
    """Return the spec of a search, with defaults for whatever is not named.

    Args:
        dataset, card: what it fine-tunes, and on which rows.
        search: its budget, seeds and pruner; its space is replaced.
        train, head, keep_head: settings that one would have taken without a search.
        arms: strategies; none for `default_strategies`.
        rates: lowest and highest learning rate; none for a tenth of that of `train` to ten times
            it.
        weight_decays: None for WEIGHT_DECAYS and that of `train`.
        head_choice: "keep" or "new" for this head alone; None for both where the backbone's own can
            be kept.
        seeds: how many the winner is judged with.
        target_rows: 0 for all.
        inputs: as in FinetuneRequest.

    Raises:
        BadInput: a value is out of its range, or other than two rates are named.
    """
    if len(rates) not in (0, 2):
        raise BadInput(
            f"The learning rates to search between are {[*rates]}; name two, the lowest and the"
            " highest."
        )
    low, high = sorted(rates) or default_rates(train.learning_rate)
    can_keep = keep_head or default_keep_head(card, head)
    heads = (head_choice,) if head_choice else (("keep", "new") if can_keep else ("new",))
    if weight_decays is None:
        weight_decays = sorted({*WEIGHT_DECAYS, train.weight_decay})
    return SweepSpec(
        dataset.id,
        card.id,
        tuple(arms) or default_strategies(card, head, heads),
        tuple(range(seeds)),
        target_sizes=(target_rows,),
        head=head,
        train=train,
        keep_head=keep_head,
        inputs=inputs,
        search=dataclasses.replace(
            search,
            rate_low=low,
            rate_high=high,
            heads=heads,
            weight_decays=tuple(weight_decays),
        ),
    )
