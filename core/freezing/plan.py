"""The plan of a run: which stages train, from which epoch and how fast. Pure functions.

`make_plan` turns a backbone's card, a strategy and a head into a `Plan`. It is shown before a run
starts, and the training loop does what it says.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from core.errors import BadInput
from core.freezing.heads import check_kept_head
from core.freezing.spec import FreezeSpec, Schedule, Scope
from core.freezing.strategies import STRATEGIES, complete_options, has_own_model, is_trained
from core.jobs.requests import TrainSettings
from core.models.card import BackboneCard, HeadSettings, StageCard

NEW_HEAD, KEPT_HEAD = "Head (new)", "Head (kept)"
"""Titles of the head in plans and results."""


@dataclass(frozen=True)
class PlannedStage:
    """A stage, or the head, in a plan.

    Args:
        name: its id, such as "block1".
        title: its name on a page, such as "Block 1".
        parameters: scalars of the stage.
        share: its part of all parameters, those of the head included.
        frozen: whether it never trains.
        flops: floating-point operations per row of the forward pass.
        origin: what its weights come from, as in StageCard.
        trained_parameters: scalars that training may change, LoRA's additions among them.
        from_epoch: first epoch (from 0) in which it trains.
        lr_scale: its part of the learning rate.
    """

    name: str
    title: str
    parameters: int
    share: float
    frozen: bool
    flops: int
    origin: str = "supervised"
    trained_parameters: int = 0
    from_epoch: int = 0
    lr_scale: float = 1.0


@dataclass(frozen=True)
class Plan:
    """What will train.

    Args:
        strategy: a key of STRATEGIES, or "pretrain".
        stages: from the input up, the head last.
        frozen_depth: number of leading stages that never train.
        reinitialise: whether all stages start from random weights.
        new_head: whether training starts from a new head; else from the backbone's own.
        scope, rank, l2_sp, schedule, reset_embeddings, head_decay, probe_first: as in
            core.freezing.spec.FreezeSpec.
        sizes_known: whether the parameters are known. A run that fits a vocabulary of its own has
            as many as its rows have values, and `stages` has those of the backbone; boosted trees
            and a logistic regression have a single stage, with 0 parameters.
        rows: which training rows it is fitted on: "target", "source", or "both".

    Raises:
        BadInput: nothing would train although the strategy trains something.
    """

    strategy: str
    stages: tuple[PlannedStage, ...]
    frozen_depth: int
    reinitialise: bool
    new_head: bool
    scope: Scope = "all"
    rank: int = 0
    l2_sp: float = 0.0
    schedule: Schedule = "none"
    reset_embeddings: bool = False
    head_decay: float = 0.0
    probe_first: bool = False
    sizes_known: bool = True
    rows: str = "target"

    def __post_init__(self) -> None:
        if self.sizes_known and self.trains and self.trained_parameters == 0:
            raise BadInput(
                f"Every one of the {len(self.stages) - 1} stages is frozen, and so is the head, so"
                " no parameter would train; lower the freeze depth or let the head train."
            )

    @property
    def trains(self) -> bool:
        """Whether anything trains, if only the head; zero-shot trains nothing."""
        return is_trained(self.strategy)

    @property
    def trains_network(self) -> bool:
        """Whether what it fits is a network, on the training device."""
        return self.strategy not in STRATEGIES or not STRATEGIES[self.strategy].model

    @property
    def trained_parameters(self) -> int:
        """Scalars that training may change."""
        return sum(stage.trained_parameters for stage in self.stages)

    @property
    def frozen_parameters(self) -> int:
        """Scalars of the network that stay bit-identical while it trains."""
        total = sum(stage.parameters for stage in self.stages)
        # LoRA's additions are not among the network's own scalars; those of the head are.
        adapted = self.scope == "adapters"
        return total - (self.stages[-1].trained_parameters if adapted else self.trained_parameters)

    def with_settings(self, train: TrainSettings) -> "Plan":
        """Return the plan with the share of the learning rate that whatever is new has.

        That is the head, or all stages of a network that is trained from scratch.
        """
        if train.head_learning_rate is None or not self.new_head:
            return self
        lr_scale = train.head_learning_rate / train.learning_rate
        first = 0 if self.reinitialise else len(self.stages) - 1
        new = (dataclasses.replace(one, lr_scale=lr_scale) for one in self.stages[first:])
        return dataclasses.replace(self, stages=(*self.stages[:first], *new))

    def with_join_epoch(self, epoch: int) -> "Plan":
        """Return a plan that probes first, with the epoch (from 0) in which its stages join."""
        stages = tuple(dataclasses.replace(one, from_epoch=epoch) for one in self.stages[:-1])
        return dataclasses.replace(self, stages=(*stages, self.stages[-1]))

    def cacheable_depth(self, epoch: int) -> int:
        """See the function of this name."""
        return cacheable_depth(self.stages, epoch)

    @property
    def allows_sparse_updates(self) -> bool:
        """Whether a step may skip the embedding rows that its batch does not look up.

        True where nothing but the loss moves an embedding.
        """
        return not self.l2_sp and self.schedule == "none" and not self.reset_embeddings

    @property
    def last_unfreeze_epoch(self) -> int:
        """The first epoch (from 0) in which every stage that ever trains does."""
        return max(stage.from_epoch for stage in self.stages)

    def check_epochs(self, epochs: int) -> None:
        """Raise BadInput when a stage would not have begun to train within `epochs` epochs."""
        if not self.probe_first and self.last_unfreeze_epoch >= epochs:
            raise BadInput(
                f"The strategy {STRATEGIES[self.strategy].title!r} opens its last stage in epoch "
                f"{self.last_unfreeze_epoch + 1}, and there are {epochs} epochs; train for more."
            )


def make_plan(
    card: BackboneCard,
    strategy: str,
    freeze_depth: int,
    head: HeadSettings,
    options: dict[str, Any] | None = None,
    keep_head: bool = False,
) -> Plan:
    """Plan a fine-tuning run.

    Args:
        card: the backbone.
        strategy: a key of STRATEGIES.
        freeze_depth: number of leading stages to freeze, from 0 to all; read by "depth" alone.
        head: the head that trains; a strategy that trains nothing has the backbone's own.
        options: options of the strategy that differ from their defaults.
        keep_head: whether training goes on from the backbone's own head. "scratch", which keeps
            nothing, has a new one either way.

    Raises:
        BadInput: the strategy or an option is unknown or out of bounds, nothing would train, the
            backbone has no head that could score rows untrained, or none of this shape to keep.

    >>> from core.models.card import load_card
    >>> from core.workspace import BUNDLED_BACKBONES
    >>> card = load_card(next(BUNDLED_BACKBONES.glob("*dcnv2*")))
    >>> plan = make_plan(card, "depth", 2, HeadSettings())
    >>> [(stage.name, stage.frozen) for stage in plan.stages][:3]
    [('embedding', True), ('cross1', True), ('cross2', False)]
    """
    values = complete_options(strategy, options or {})
    trained = is_trained(strategy)
    if not trained and not card.scores_clicks:
        raise BadInput(
            f"The backbone {card.name!r} has no head trained on click labels, so it cannot "
            "score rows as it is; choose another strategy than zero-shot."
        )
    if model := STRATEGIES[strategy].model:
        return _plan_model(strategy, model, values["rows"])
    spec = STRATEGIES[strategy].build(card.stages, {**values, "depth": freeze_depth})
    new_head = trained and (spec.reinitialise or not keep_head)
    if trained and not new_head:
        check_kept_head(card, head)
    used_head = head if new_head else card.head
    head_parameters = used_head.parameters(card.representation, card.members)
    head_stage = PlannedStage(
        name="head",
        title=NEW_HEAD if new_head else KEPT_HEAD,
        parameters=head_parameters,
        share=0.0,
        frozen=not trained,
        flops=used_head.flops(card.representation, card.members),
        origin="random" if new_head else "supervised",
        trained_parameters=head_parameters if trained else 0,
    )
    stages = _plan_stages(card.stages, head_stage, spec)
    return Plan(
        strategy=strategy,
        stages=stages,
        frozen_depth=_frozen_prefix_length(stages),
        reinitialise=spec.reinitialise,
        new_head=new_head,
        scope=spec.scope,
        rank=spec.rank,
        l2_sp=spec.l2_sp,
        schedule=spec.schedule,
        reset_embeddings=spec.reset_embeddings,
        head_decay=spec.head_decay,
        probe_first=spec.probe_first,
        sizes_known=not has_own_model(strategy),
        rows=values.get("rows", "target"),
    )


def _plan_model(strategy: str, title: str, rows: str) -> Plan:
    """Plan a model that is no network: one entry, whose size is known once it is fitted."""
    model = PlannedStage("model", title, 0, share=1.0, frozen=False, flops=0, origin="random")
    return Plan(
        strategy, (model,), 0, reinitialise=True, new_head=True, sizes_known=False, rows=rows
    )


def make_pretraining_plan(
    stages: tuple[StageCard, ...], head_parameters: int, head_flops: int
) -> Plan:
    """Plan a pretraining run: every stage and a new head train."""
    head = PlannedStage(
        name="head",
        title=NEW_HEAD,
        parameters=head_parameters,
        share=0.0,
        frozen=False,
        flops=head_flops,
        origin="random",
        trained_parameters=head_parameters,
    )
    planned = _plan_stages(stages, head, FreezeSpec((True,) * len(stages)))
    return Plan("pretrain", planned, frozen_depth=0, reinitialise=True, new_head=True)


def cacheable_depth(stages: Sequence[PlannedStage], epoch: int) -> int:
    """Number of leading stages whose output of an earlier pass can be used again in an epoch.

    These are the stages that never train, and those that do not train yet. Where their number
    changes with every epoch, as in gradual unfreezing, caching costs more than it saves, so only
    those that never train count (docs/decisions.md).

    Args:
        stages: of a plan, the head last.
        epoch: counted from 0.
    """
    depth = _frozen_prefix_length(stages, epoch)
    neighbours = [epoch - 1, epoch + 1] if epoch else [epoch + 1]
    if depth in [_frozen_prefix_length(stages, other) for other in neighbours]:
        return depth
    return _frozen_prefix_length(stages)


def _frozen_prefix_length(stages: Sequence[PlannedStage], epoch: int | None = None) -> int:
    """Number of leading stages, without the head, that do not train up to `epoch`; None: ever."""
    for index, stage in enumerate(stages[:-1]):
        if not stage.frozen and (epoch is None or stage.from_epoch <= epoch):
            return index
    return len(stages) - 1


def _plan_stages(
    stages: tuple[StageCard, ...], head: PlannedStage, spec: FreezeSpec
) -> tuple[PlannedStage, ...]:
    """The stages and the head as `spec` has them, with their shares of all parameters."""
    total = sum(stage.parameters for stage in stages) + head.parameters
    planned = [
        PlannedStage(
            name=stage.name,
            title=stage.title,
            parameters=stage.parameters,
            share=stage.parameters / total,
            frozen=not spec.trainable[index],
            flops=stage.flops,
            origin="random" if spec.reinitialise else stage.origin,
            trained_parameters=_count_trained(stage, spec) if spec.trainable[index] else 0,
            from_epoch=spec.from_epoch[index] if spec.from_epoch else 0,
            lr_scale=spec.lr_scales[index] if spec.lr_scales else 1.0,
        )
        for index, stage in enumerate(stages)
    ]
    return (*planned, dataclasses.replace(head, share=head.parameters / total))


def _count_trained(stage: StageCard, spec: FreezeSpec) -> int:
    """Scalars that train in a stage that does."""
    counts = {
        "all": stage.parameters,
        "biases and norms": stage.biases_norms,
        "adapters": spec.rank * (stage.linear_widths or 0),
    }
    # None where an old card lacks the count; a strategy of that scope has refused such a card.
    return counts[spec.scope] or 0
