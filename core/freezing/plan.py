"""From a backbone's card and a strategy to a plan: which stages train. Pure functions; no training code."""

import dataclasses
from dataclasses import dataclass

from core.errors import BadInput
from core.models.card import BackboneCard, HeadSettings, StageCard


@dataclass(frozen=True)
class Strategy:
    """A strategy as a page offers it."""

    title: str
    summary: str


STRATEGIES: dict[str, Strategy] = {
    "depth": Strategy("Freeze depth", "The first d stages stay frozen, the rest and a new head train."),
    "full": Strategy("Full fine-tuning", "Nothing is frozen (freeze depth 0); the head is new."),
    "linear-probe": Strategy("Linear probe", "Every stage is frozen; only the new head trains."),
    "scratch": Strategy("From scratch", "The same network with fresh weights, trained on the target rows alone."),
    "zero-shot": Strategy("Zero-shot", "The backbone with its own head, as it is; nothing trains."),
}


@dataclass(frozen=True)
class PlannedStage:
    """A stage in a plan; `share` is its part of all parameters, head included; origin as in StageCard."""

    name: str
    title: str
    parameters: int
    share: float
    frozen: bool
    flops: int
    origin: str = "supervised"


@dataclass(frozen=True)
class Plan:
    """What will train. stages: from the input up, the head last. frozen_depth: leading stages frozen.

    fresh_backbone: stages start from new weights (from scratch). new_head: the head is replaced.
    """

    strategy: str
    stages: tuple[PlannedStage, ...]
    frozen_depth: int
    fresh_backbone: bool
    new_head: bool

    def __post_init__(self) -> None:
        if self.strategy != "zero-shot" and self.trained_parameters == 0:
            raise BadInput(
                f"Every one of the {len(self.stages)} stages is frozen, so no parameter would train; lower the freeze "
                "depth or put a new head on."
            )

    @property
    def trained_parameters(self) -> int:
        """Scalars that training may change."""
        return sum(stage.parameters for stage in self.stages if not stage.frozen)

    @property
    def frozen_parameters(self) -> int:
        """Scalars that stay bit-identical."""
        return sum(stage.parameters for stage in self.stages if stage.frozen)


def make_plan(card: BackboneCard, strategy: str, freeze_depth: int, head: HeadSettings) -> Plan:
    """The plan of `strategy` for the backbone `card` with a new `head`.

    freeze_depth is read by the strategy "depth" alone and must lie between 0 and the number of stages. Only
    "zero-shot" has nothing to train; any other plan without trainable parameters is refused with BadInput.
    """
    depths = {"depth": freeze_depth, "full": 0, "linear-probe": len(card.stages), "scratch": 0}
    zero_shot = strategy == "zero-shot"
    if zero_shot and not card.scores_clicks:
        raise BadInput(
            f"The backbone {card.name!r} has no head that learnt clicks, so it cannot score rows as it is; choose "
            "another strategy than zero-shot."
        )
    depth = len(card.stages) if zero_shot else depths[strategy]
    if not 0 <= depth <= len(card.stages):
        raise BadInput(
            f"Freeze depth {depth} does not fit the backbone {card.name!r}: it has {len(card.stages)} stages, "
            f"so take 0 (full fine-tuning) to {len(card.stages)} (linear probe)."
        )
    used_head = card.head if zero_shot else head
    fresh = strategy == "scratch"
    stages = tuple(dataclasses.replace(stage, origin="random") if fresh else stage for stage in card.stages)
    head_parameters = used_head.parameters(card.representation, card.members)
    head_flops = used_head.flops(card.representation, card.members)
    head_stage = PlannedStage(
        "head",
        "Head (own)" if zero_shot else "Head (new)",
        head_parameters,
        0.0,
        zero_shot,
        head_flops,
        "supervised" if zero_shot else "random",
    )
    return Plan(strategy, _planned(stages, head_stage, depth), depth, fresh, not zero_shot)


def plan_pretraining(stages: tuple[StageCard, ...], head_parameters: int, head_flops: int) -> Plan:
    """The plan under which every stage and the head on top train."""
    head = PlannedStage("head", "Head (new)", head_parameters, 0.0, False, head_flops, "random")
    return Plan("pretrain", _planned(stages, head, 0), 0, True, True)


def _planned(stages: tuple[StageCard, ...], head: PlannedStage, depth: int) -> tuple[PlannedStage, ...]:
    total = sum(stage.parameters for stage in stages) + head.parameters
    planned = [
        PlannedStage(
            stage.name,
            stage.title,
            stage.parameters,
            stage.parameters / total,
            index < depth,
            stage.flops,
            stage.origin,
        )
        for index, stage in enumerate(stages)
    ]
    return (*planned, dataclasses.replace(head, share=head.parameters / total))
