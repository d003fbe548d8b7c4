"""The command of a sweep submits the same sweep, and its estimated time is the sum over its
runs."""

import dataclasses
import shlex

import pytest

from core.cli.parser import build_parser
from core.cli.sweep_command import sweep_spec
from core.data.datasets import Dataset, select_training_rows
from core.errors import BadInput
from core.freezing.plan import make_plan
from core.freezing.strategies import ROW_CHOICES
from core.jobs.requests import TrainSettings
from core.models.backbone_store import list_backbones
from core.models.card import HeadSettings
from core.runs.command_lines import sweep_command_line
from core.runs.control_rows import arms_on_rows
from core.runs.estimate import SPEEDS, Estimate, estimate_seconds
from core.runs.reproduce import fits_one_command, sweep_commands
from core.runs.sweep import Arm, Sweep, SweepSpec, depth_arms, expand_requests, plan_arms
from core.runs.sweep_estimate import estimate_sweep
from core.training.default_settings import PRESETS, default_settings, rate_grid
from core.workspace import Workspace

BY_SIZE = tuple(
    dataclasses.replace(
        default_settings(rows)[1], early_stopping=5, device="cpu", validation_share=0.3
    )
    for rows in (70, 420)
)
"""What 100 and all rows of the dataset tiny train with by default, but for two values that were
given."""


@pytest.fixture
def spec(tiny: tuple[Workspace, Dataset]) -> SweepSpec:
    workspace, dataset = tiny
    card = next(card for card in list_backbones(workspace) if card.architecture == "dnn")
    return SweepSpec(dataset.id, card.id, depth_arms(card))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"arms": (Arm("depth", 2), Arm("depth", 0)), "seeds": (0,)},
        {
            "arms": (
                Arm("l2-sp", 0, {"pull": 0.25}),
                Arm("lp-ft", 0, {"probe_epochs": 3}),
                Arm("zero-shot"),
            )
        },
        {
            "arms": (
                Arm("depth", 1),
                Arm("lora"),
                Arm("surgical", 0, {"stages": ("embedding", "block2")}),
                Arm("surgical", 0, {"stages": ("block1",)}),
            ),
            "seeds": (0, 1, 2, 3, 4),
            "learning_rates": (1e-3, 3.16227766e-05),
            "target_sizes": (1000, 0),
            "halving": 4,
            "head": HeadSettings((64, 32), "gelu", "softmax"),
            "train": dataclasses.replace(
                PRESETS["small"], epochs=7, validation_share=0.2, device="cpu"
            ),
        },
        {"train": PRESETS["map"]},
        {"keep_head": True, "inputs": "refitted"},
        {"train": PRESETS["article"]},
        {"train": PRESETS["article"], "keep_head": True},
        {"target_sizes": (100, 0), "train": BY_SIZE[1], "train_by_size": BY_SIZE},
        {"learning_rates": (3e-4, 1e-3), "choose_rate": True, "train": PRESETS["small"]},
        {"learning_rates": (1e-3,)},
        {"arms": (Arm("full"), *arms_on_rows("gradient-boosting", ROW_CHOICES), Arm("scratch"))},
        {
            "arms": (
                *arms_on_rows("logistic-regression", ["source"]),
                *arms_on_rows("gradient-boosting", ["both"]),
                *arms_on_rows("retrain", ["target", "both"]),
            )
        },
    ],
)
def test_the_command_asks_for_the_same_sweep(
    spec: SweepSpec, changes: dict[str, object], tiny: tuple[Workspace, Dataset]
) -> None:
    asked = dataclasses.replace(spec, **changes)  # type: ignore[arg-type]
    words = shlex.split(sweep_command_line(tiny[0], asked, "a name; with $HOME"))
    assert words[:3] == ["python", "-m", "core"]
    options = build_parser().parse_args(words[3:])
    assert options.name == "a name; with $HOME"
    assert sweep_spec(tiny[0], options) == asked
    assert fits_one_command(tiny[1], asked)


def test_rows_of_controls_make_arms(spec: SweepSpec, tiny: tuple[Workspace, Dataset]) -> None:
    def arms(*words: str) -> list[str]:
        command = ["sweep", "--name", "a", "--dataset", "tiny", "--backbone", spec.backbone, *words]
        return [arm.title for arm in sweep_spec(tiny[0], build_parser().parse_args(command)).arms]

    boosting = ["source", "target", "source and target"]
    expected = [f"gradient boosting, {rows} rows" for rows in boosting]
    given = ("--control-rows", "gradient-boosting=source,target,both")
    # In the place of the one that all sweeps have, after named arms, or in a named one's place.
    found, usual = arms(*given), arms()
    place = usual.index("gradient boosting")
    assert found == usual[:place] + expected + usual[place + 1 :]
    assert arms("--depths", "1", *given) == ["freeze depth 1", *expected]
    regression = ("--control-rows", "logistic-regression=source")
    named = arms("--strategies", "gradient-boosting,full", *given, *regression)
    assert named == [*expected, "full fine-tuning", "logistic regression, source rows"]
    for wrong, said in (
        (["lora=source"], "Rows are chosen for 'lora'; the controls that have a choice"),
        (["gradient-boosting="], "No rows are chosen for 'Gradient boosting'"),
        (["gradient-boosting=sauce"], "Rows is 'sauce'; it must be one of"),
        (["retrain=source,source"], "has each arm once, and 'retrained, source rows'"),
        (["retrain=source", "retrain=both"], "twice; give all of its rows at once: retrain=source"),
    ):
        with pytest.raises(BadInput, match=said):
            arms(*(word for one in wrong for word in ("--control-rows", one)))
    with pytest.raises(SystemExit):
        arms("--control-rows", "gradient-boosting")


def test_defaults_are_left_out(spec: SweepSpec, tiny: tuple[Workspace, Dataset]) -> None:
    train = dataclasses.replace(default_settings(420)[1], validation_share=0.3)
    rates = rate_grid(train.learning_rate)
    default = dataclasses.replace(
        spec, train=train, keep_head=True, learning_rates=rates, choose_rate=True
    )
    line = sweep_command_line(tiny[0], default, "mine")
    assert (
        line
        == "python -m core sweep --name mine --dataset tiny --backbone 'Simulated DNN' --depths all"
    )
    # A later version may have another default, so what is to last names every value.
    lasting = sweep_command_line(tiny[0], default, "mine", pinned=True)
    options = build_parser().parse_args(shlex.split(lasting)[3:])
    assert options.preset in PRESETS and sweep_spec(tiny[0], options) == default


def test_settings_that_no_single_command_gives_are_said_run_by_run(
    spec: SweepSpec, tiny: tuple[Workspace, Dataset]
) -> None:
    by_size = PRESETS["small"], PRESETS["map"]
    asked = dataclasses.replace(
        spec, target_sizes=(100, 0), train=by_size[1], train_by_size=by_size
    )
    assert not fits_one_command(tiny[1], asked)
    with pytest.raises(BadInput, match="no single command"):
        sweep_command_line(tiny[0], asked, "mine")
    lines = sweep_commands(tiny[0], Sweep("s-1", "mine", asked, ""))
    runs = len(spec.arms) * 3
    assert sum("--preset small" in line and "--target-rows 100" in line for line in lines) == runs
    assert sum("--preset map" in line for line in lines) == runs


@pytest.mark.parametrize(("share", "last"), [(None, 0), (None, 300), (0.25, 0), (0.4, 100)])
def test_the_estimate_is_the_sum_over_runs_with_every_frozen_prefix_once(
    spec: SweepSpec, share: float | None, last: int, tiny: tuple[Workspace, Dataset]
) -> None:
    workspace, dataset = tiny
    card = next(card for card in list_backbones(workspace) if card.id == spec.backbone)
    train = TrainSettings(epochs=3, validation_share=share, device="cpu")
    asked = dataclasses.replace(
        spec, target_sizes=(last,), train=train, arms=(*spec.arms, Arm("zero-shot"))
    )
    rows = len(select_training_rows(dataset, "target", share, last)[0])
    alone = [
        estimate_seconds(
            make_plan(card, one.strategy, one.freeze_depth, one.head), rows, train, ()
        ).seconds
        for one in expand_requests(asked)
    ]
    depths = range(len(card.stages) + 1)
    assert len(alone) == len(depths) * 3 + 1
    prefixes = (
        sum(rows * sum(stage.flops for stage in card.stages[:depth]) for depth in depths)
        / SPEEDS["cpu"].flops_per_second
    )
    assert estimate_sweep(dataset, plan_arms(card, asked), asked, ()).seconds == pytest.approx(
        sum(alone) - 2 * prefixes
    )


def test_the_estimate_says_what_choosing_rates_costs(
    spec: SweepSpec, tiny: tuple[Workspace, Dataset]
) -> None:
    workspace, dataset = tiny
    card = next(card for card in list_backbones(workspace) if card.id == spec.backbone)
    train = TrainSettings(epochs=3, device="cpu")
    one = dataclasses.replace(spec, arms=(Arm("depth", 0), Arm("zero-shot")), train=train)
    three = dataclasses.replace(one, learning_rates=rate_grid(1e-3), choose_rate=True)
    fixed, chosen = (
        estimate_sweep(dataset, plan_arms(card, asked), asked, ()) for asked in (one, three)
    )
    assert fixed.rate_choice_seconds == 0
    # Without the rates of every arm but one it would be the sweep of one rate.
    assert chosen.seconds - chosen.rate_choice_seconds == pytest.approx(fixed.seconds)
    share = chosen.rate_choice_seconds / chosen.seconds
    assert f"About {100 * share:.0f} % of it" in chosen.explanation


def test_sizes_and_strategies_share_a_prefix_too(
    spec: SweepSpec, tiny: tuple[Workspace, Dataset]
) -> None:
    workspace, dataset = tiny
    card = next(card for card in list_backbones(workspace) if card.id == spec.backbone)
    train = TrainSettings(epochs=3, device="cpu")

    def estimate(*arms: Arm, sizes: tuple[int, ...] = (0,)) -> Estimate:
        asked = dataclasses.replace(spec, seeds=(0,), train=train, arms=arms, target_sizes=sizes)
        return estimate_sweep(dataset, plan_arms(card, asked), asked, ())

    probe, both = Arm("linear-probe"), Arm("lp-ft", 0, {"probe_epochs": 2})
    (shared,) = estimate(probe).prefix_seconds.values()
    alone = estimate(probe).seconds + estimate(both).seconds
    assert shared > 0 and estimate(probe, both).seconds == pytest.approx(alone - shared)
    few = estimate(probe, sizes=(300,))
    (of_few,) = few.prefix_seconds.values()
    assert of_few < shared
    assert estimate(probe, sizes=(300, 0)).seconds == pytest.approx(
        few.seconds + estimate(probe).seconds - of_few
    )
