"""Plans: what each strategy freezes, what it counts, and what it refuses."""

import dataclasses

import pytest

from core.errors import BadInput
from core.freezing.plan import STRATEGIES, Plan, make_plan
from core.models.card import BackboneCard, HeadSettings, StageCard

STAGES = tuple(StageCard(f"s{i}", f"S{i}", 10 * (i + 1), 2 * i, 4) for i in range(3))
CARD = BackboneCard("b", "card", "dnn", {}, STAGES, 4, HeadSettings((2,)), {}, {}, "", "", "", "")
HEAD = HeadSettings((3,), "tanh", "softmax")


@pytest.mark.parametrize("depth", range(4))
def test_depth_freezes_from_the_input(depth: int) -> None:
    plan = make_plan(CARD, "depth", depth, HEAD)
    assert [stage.frozen for stage in plan.stages] == [index < depth for index in range(3)] + [False]
    assert plan.frozen_parameters == sum(10 * (i + 1) for i in range(depth))
    assert plan.trained_parameters == 60 - plan.frozen_parameters + (4 + 1) * 3 + (3 + 1) * 2
    assert sum(stage.share for stage in plan.stages) == pytest.approx(1)
    assert plan.new_head and not plan.fresh_backbone


def test_named_strategies() -> None:
    frozen = {name: [stage.frozen for stage in make_plan(CARD, name, 1, HEAD).stages] for name in STRATEGIES}
    assert frozen["full"] == frozen["scratch"] == [False] * 4
    assert frozen["linear-probe"] == [True, True, True, False]
    assert frozen["zero-shot"] == [True] * 4
    assert make_plan(CARD, "scratch", 1, HEAD).fresh_backbone
    zero_shot = make_plan(CARD, "zero-shot", 1, HEAD)
    assert not zero_shot.new_head and zero_shot.trained_parameters == 0
    assert zero_shot.stages[-1].parameters == HeadSettings((2,)).parameters(4) == (4 + 1) * 2 + (2 + 1)


@pytest.mark.parametrize("depth", [-1, 4])
def test_a_depth_that_does_not_fit_is_refused(depth: int) -> None:
    with pytest.raises(BadInput, match=rf"Freeze depth {depth} does not fit the backbone 'card': it has 3 stages"):
        make_plan(CARD, "depth", depth, HEAD)


def test_nothing_to_train_is_refused() -> None:
    frozen = tuple(dataclasses.replace(stage, frozen=True) for stage in make_plan(CARD, "full", 0, HEAD).stages)
    with pytest.raises(BadInput, match="Every one of the 4 stages is frozen, so no parameter would train"):
        Plan("depth", frozen, 4, fresh_backbone=False, new_head=False)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"activation": "sine"}, "Head activation 'sine' is unknown"),
        ({"output": "regression"}, "Head output 'regression' is unknown"),
        ({"hidden": (0,)}, r"Head layers \[0\] cannot be used"),
        ({"hidden": (8,) * 5}, "up to 4 layers"),
    ],
)
def test_heads_are_checked_at_the_door(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        HeadSettings(**settings)  # type: ignore[arg-type]
