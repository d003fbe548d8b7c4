"""From a backbone's card and a strategy to a plan: which stages train, when and how. Pure; no
training code."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from core.errors import BadInput
from core.freezing.strategies import STRATEGIES, FreezeSpec, complete_options
from core.models.card import BackboneCard, HeadSettings, StageCard


@dataclass(frozen=True)
class PlannedStage:
    """A stage in a plan; `share` is its part of all parameters, head included; origin as in
    StageCard.

    trained_parameters: scalars of it that training may change, LoRA's additions among them.
        from_epoch: the first epoch (from 0) in which it trains. lr_scale: its part of the learning
        rate.
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
    """What will train. stages: from the input up, the head last. frozen_depth: leading stages that
    never train.

    reinitialise: stages start from new weights (from scratch). new_head: the head is replaced.
    only, rank, pull, rule, reset_embeddings: see core.freezing.strategies.FreezeSpec.
    """

    strategy: str
    stages: tuple[PlannedStage, ...]
    frozen_depth: int
    reinitialise: bool
    new_head: bool
    scope: str = "all"
    rank: int = 0
    l2_sp: float = 0.0
    schedule: str = "none"
    reset_embeddings: bool = False

    def __post_init__(self) -> None:
        if self.strategy != "zero-shot" and self.trained_parameters == 0:
            raise BadInput(
                f"Every one of the {len(self.stages)} stages is frozen, so no parameter would"
                " train; lower the freeze depth or put a new head on."
            )

    @property
    def trained_parameters(self) -> int:
        """Scalars that training may change."""
        return sum(stage.trained_parameters for stage in self.stages)

    @property
    def frozen_parameters(self) -> int:
        """Scalars of the network that stay bit-identical while it trains."""
        own = sum(stage.parameters for stage in self.stages)
        # LoRA's additions are none of the network's own scalars; the head is.
        return own - (
            self.stages[-1].trained_parameters
            if self.scope == "adapters"
            else self.trained_parameters
        )

    def cacheable_depth(self, epoch: int) -> int:
        """How many leading stages need not be run again in `epoch` (from 0), since what they hand
        on is kept."""
        return cacheable_depth(self.stages, epoch)

    @property
    def allows_sparse_updates(self) -> bool:
        """Whether nothing but the loss moves an embedding, so that rows which a batch does not look
        up may rest."""
        return not self.l2_sp and self.schedule == "none" and not self.reset_embeddings

    @property
    def last_unfreeze_epoch(self) -> int:
        """The first epoch (from 0) in which every stage that ever trains does."""
        return max(stage.from_epoch for stage in self.stages)

    def check_epochs(self, epochs: int) -> None:
        """BadInput when a stage would still be waiting for its first epoch after `epochs`."""
        if self.last_unfreeze_epoch >= epochs:
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
) -> Plan:
    """The plan of `strategy` for the backbone `card` with a new `head`.

    freeze_depth is read by the strategy "depth" alone and must lie between 0 and the number of
    stages. options: those of the strategy that differ from its defaults. Only "zero-shot" has
    nothing to train; any other plan without trainable parameters is refused with BadInput.
    """
    zero_shot = strategy == "zero-shot"
    if zero_shot and not card.scores_clicks:
        raise BadInput(
            f"The backbone {card.name!r} has no head trained on click labels, so it cannot "
            "score rows as it is; choose another strategy than zero-shot."
        )
    values = complete_options(strategy, options or {})
    sketch = STRATEGIES[strategy].build(card.stages, {**values, "depth": freeze_depth})
    used_head = card.head if zero_shot else head
    head_parameters = used_head.parameters(card.representation, card.members)
    head_stage = PlannedStage(
        "head",
        "Head (own)" if zero_shot else "Head (new)",
        head_parameters,
        0.0,
        zero_shot,
        used_head.flops(card.representation, card.members),
        "supervised" if zero_shot else "random",
        0 if zero_shot else head_parameters,
    )
    stages = _plan_stages(card.stages, head_stage, sketch)
    return Plan(
        strategy,
        stages,
        _frozen_prefix_length(stages),
        sketch.reinitialise,
        not zero_shot,
        sketch.scope,
        sketch.rank,
        sketch.l2_sp,
        sketch.schedule,
        sketch.reset_embeddings,
    )


def cacheable_depth(stages: Sequence[PlannedStage], epoch: int) -> int:
    """How many leading stages need not be run again in `epoch` (from 0), since what they hand on is
    kept.

    Those that never train, and those that are still to join. Where they are as many for a single
    epoch alone, as in gradual unfreezing, keeping costs more than it saves (docs/decisions.md).
    """
    depth = _frozen_prefix_length(stages, epoch)
    again = [_frozen_prefix_length(stages, near) for near in (epoch - 1, epoch + 1) if near >= 0]
    return depth if depth in again else _frozen_prefix_length(stages)


def _frozen_prefix_length(stages: Sequence[PlannedStage], epoch: int | None = None) -> int:
    """How many leading stages, the head not among them, have not trained by the end of `epoch`;
    None: ever."""
    for index, stage in enumerate(stages[:-1]):
        if not stage.frozen and (epoch is None or stage.from_epoch <= epoch):
            return index
    return len(stages) - 1


def make_pretraining_plan(
    stages: tuple[StageCard, ...], head_parameters: int, head_flops: int
) -> Plan:
    """The plan under which every stage and the head on top train."""
    head = PlannedStage(
        "head", "Head (new)", head_parameters, 0.0, False, head_flops, "random", head_parameters
    )
    return Plan(
        "pretrain", _plan_stages(stages, head, FreezeSpec((True,) * len(stages))), 0, True, True
    )


def _plan_stages(
    stages: tuple[StageCard, ...], head: PlannedStage, sketch: FreezeSpec
) -> tuple[PlannedStage, ...]:
    total = sum(stage.parameters for stage in stages) + head.parameters
    planned = [
        PlannedStage(
            stage.name,
            stage.title,
            stage.parameters,
            stage.parameters / total,
            not sketch.trainable[index],
            stage.flops,
            "random" if sketch.reinitialise else stage.origin,
            _count_trained(stage, sketch) if sketch.trainable[index] else 0,
            sketch.from_epoch[index] if sketch.from_epoch else 0,
            sketch.lr_scales[index] if sketch.lr_scales else 1.0,
        )
        for index, stage in enumerate(stages)
    ]
    return (*planned, dataclasses.replace(head, share=head.parameters / total))


def _count_trained(stage: StageCard, sketch: FreezeSpec) -> int:
    counts = {
        "all": stage.parameters,
        "biases and norms": stage.biases_norms,
        "adapters": sketch.rank * (stage.linear_widths or 0),
    }
    # A strategy that asks for a count refuses cards without it.
    return counts[sketch.scope] or 0
