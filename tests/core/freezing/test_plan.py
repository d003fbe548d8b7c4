"""Plans: what each strategy freezes, counts and refuses."""

import dataclasses
import json
from pathlib import Path

import pytest

from core.errors import BadInput
from core.freezing.plan import Plan, make_plan
from core.freezing.strategies import STRATEGIES, describe_strategy
from core.models.card import HeadSettings, StageCard, load_card, save_card
from tests.core.freezing.cards import CARD

HEAD = HeadSettings((3,), "tanh", "softmax")


@pytest.mark.parametrize("depth", range(4))
def test_depth_freezes_from_the_input(depth: int) -> None:
    plan = make_plan(CARD, "depth", depth, HEAD)
    assert [stage.frozen for stage in plan.stages] == [index < depth for index in range(3)] + [
        False
    ]
    assert plan.frozen_parameters == sum(10 * (i + 1) for i in range(depth))
    assert plan.trained_parameters == 60 - plan.frozen_parameters + (4 + 1) * 3 + (3 + 1) * 2
    assert sum(stage.share for stage in plan.stages) == pytest.approx(1)
    assert plan.new_head and not plan.reinitialise


def test_named_strategies() -> None:
    options = {"surgical": {"stages": ["s1"]}}
    frozen = {
        name: [stage.frozen for stage in make_plan(CARD, name, 1, HEAD, options.get(name)).stages]
        for name in STRATEGIES
    }
    for name in (
        "full",
        "scratch",
        "lp-ft",
        "gradual",
        "decay",
        "auto-rgn",
        "l2-sp",
        "meda",
        "autofreeze",
    ):
        assert frozen[name] == [False] * 4
    assert frozen["surgical"] == [True, False, True, False]
    assert frozen["embeddings-only"] == [False, True, True, False]
    assert frozen["all-but-embeddings"] == [True, False, False, False]
    assert frozen["bitfit"] == frozen["lora"] == [True, False, False, False]
    assert frozen["linear-probe"] == [True, True, True, False]
    assert frozen["zero-shot"] == [True] * 4
    assert make_plan(CARD, "scratch", 1, HEAD).reinitialise
    zero_shot = make_plan(CARD, "zero-shot", 1, HEAD)
    assert not zero_shot.new_head and zero_shot.trained_parameters == 0
    assert (
        zero_shot.stages[-1].parameters == HeadSettings((2,)).parameters(4) == (4 + 1) * 2 + (2 + 1)
    )


@pytest.mark.parametrize("depth", [-1, 4])
def test_a_depth_that_does_not_fit_is_refused(depth: int) -> None:
    with pytest.raises(
        BadInput, match=rf"Freeze depth {depth} does not fit this backbone: it has 3 stages"
    ):
        make_plan(CARD, "depth", depth, HEAD)


def test_nothing_to_train_is_refused() -> None:
    frozen = tuple(
        dataclasses.replace(stage, frozen=True, trained_parameters=0)
        for stage in make_plan(CARD, "full", 0, HEAD).stages
    )
    with pytest.raises(
        BadInput, match="Every one of the 3 stages is frozen, and so is the head, so no"
    ):
        Plan("depth", frozen, 4, reinitialise=False, new_head=False)


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


def test_rates_and_unfreezing_follow_the_papers() -> None:
    gradual = make_plan(CARD, "gradual", 0, HEAD).stages
    assert [stage.from_epoch for stage in gradual] == [3, 2, 1, 0]
    assert [stage.lr_scale for stage in gradual] == pytest.approx([2.6**-3, 2.6**-2, 2.6**-1, 1])
    decay = make_plan(CARD, "decay", 0, HEAD, {"decay": 0.5}).stages
    assert [stage.lr_scale for stage in decay] == [0.125, 0.25, 0.5, 1]
    probe = make_plan(CARD, "lp-ft", 0, HEAD, {"probe_epochs": 4})
    assert [stage.from_epoch for stage in probe.stages] == [
        4,
        4,
        4,
        0,
    ] and probe.last_unfreeze_epoch == 4
    probe.check_epochs(5)
    with pytest.raises(BadInput, match="opens its last stage in epoch 5, and there are 4 epochs"):
        probe.check_epochs(4)


def test_stages_frozen_for_more_than_one_epoch_are_computed_once() -> None:
    def depths(strategy: str, options: dict[str, object] | None = None) -> list[int]:
        plan = make_plan(CARD, strategy, 2, HEAD, options)
        return [plan.cacheable_depth(epoch) for epoch in range(5)]

    assert depths("lp-ft", {"probe_epochs": 3}) == [3, 3, 3, 0, 0]
    assert depths("lp-ft", {"probe_epochs": 1}) == depths("gradual") == depths("full") == [0] * 5
    assert depths("depth") == [2] * 5 and depths("surgical", {"stages": ("s2",)}) == [2] * 5


def test_parts_of_stages_are_counted() -> None:
    own = (4 + 1) * 3 + (3 + 1) * 2
    bitfit = make_plan(CARD, "bitfit", 0, HEAD)
    assert bitfit.frozen_depth == 1
    assert bitfit.trained_parameters == 3 + 6 + own and bitfit.frozen_parameters == 60 - 9
    lora = make_plan(CARD, "lora", 0, HEAD, {"rank": 2})
    assert lora.trained_parameters == 2 * (7 + 14) + own and lora.frozen_parameters == 60
    assert make_plan(CARD, "surgical", 0, HEAD, {"stages": ("s2",)}).frozen_depth == 2
    assert make_plan(CARD, "embeddings-only", 0, HEAD).frozen_depth == 0


@pytest.mark.parametrize(
    ("strategy", "options", "sentence"),
    [
        ("surgical", {}, "at least one stage to train; choose from"),
        ("surgical", {"stages": ["s9"]}, r"The stages \['s9'\] are not in this backbone"),
        ("lora", {"rank": 0}, "Rank is 0; it must be 1 to 256"),
        ("lora", {"rank": 2.5}, "Rank is 2.5"),
        ("decay", {"decay": 2}, "Decay is 2; it must be 0.05 to 1"),
        ("full", {"rank": 3}, r"'Full fine-tuning' has no options \['rank'\]"),
    ],
)
def test_options_are_checked_at_the_door(
    strategy: str, options: dict[str, object], sentence: str
) -> None:
    with pytest.raises(BadInput, match=sentence):
        make_plan(CARD, strategy, 0, HEAD, options)


def test_strategies_that_need_what_a_backbone_lacks_are_refused() -> None:
    blocks = tuple(
        StageCard(f"block{i}", "B", 5, 5, 5, biases_norms=0, linear_widths=0) for i in range(2)
    )
    images = dataclasses.replace(CARD, stages=blocks)
    for strategy in ("meda", "embeddings-only", "all-but-embeddings"):
        with pytest.raises(BadInput, match="not an embedding stage"):
            make_plan(images, strategy, 0, HEAD)
    for strategy in ("bitfit", "lora"):
        with pytest.raises(BadInput, match="have none"):
            make_plan(images, strategy, 0, HEAD)


@pytest.mark.parametrize("strategy", ["bitfit", "lora"])
def test_a_card_without_the_counts_is_refused_rather_than_probed(
    strategy: str, tmp_path: Path
) -> None:
    save_card(CARD, tmp_path)
    values = json.loads((tmp_path / "card.json").read_text())
    for stage in values["stages"]:
        del stage["biases_norms"], stage["linear_widths"]
    (tmp_path / "card.json").write_text(json.dumps(values))
    with pytest.raises(
        BadInput, match="written before .* were counted.* export the backbone and import it again"
    ):
        make_plan(load_card(tmp_path), strategy, 0, HEAD)


def test_a_strategy_in_words() -> None:
    assert describe_strategy("depth", 2, {}) == "freeze depth 2"
    assert describe_strategy("lora", 0, {"rank": 8}) == "LoRA, rank 8"
    assert describe_strategy("lora", 0, {"rank": 4}) == "LoRA"
    assert describe_strategy("surgical", 0, {"stages": ("s1", "s2")}) == "surgical, s1+s2"
    assert describe_strategy("full", 0, {}) == "full fine-tuning"
