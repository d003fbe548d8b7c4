"""Strategies on the page Fine-tune: each can be launched, the stack is clickable, the URL keeps the
choice."""

import dataclasses
import shlex

import pytest
from streamlit.testing.v1 import AppTest

from core.cli.options import strategy_options
from core.cli.parser import build_parser
from core.data.datasets import Dataset
from core.freezing.strategies import DEFAULT_CONTROLS, STRATEGIES, complete_options
from core.jobs.store import RunStore
from core.models.backbone_store import list_backbones
from core.models.card import BackboneCard, save_card
from core.workspace import Workspace
from tests.pages.helpers import copy_to_workspace, open_page, page_text, stage_table

Tiny = tuple[Workspace, Dataset]


@pytest.fixture
def page(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    return open_page(tiny[0], "finetune", monkeypatch, backbone="simulated-dnn")


def card_of(workspace: Workspace) -> BackboneCard:
    return next(card for card in list_backbones(workspace) if card.architecture == "dnn")


def choose(app: AppTest, strategy: str) -> None:
    app.selectbox("ft_strategy").set_value(strategy).run()
    assert not app.exception


def launchable(app: AppTest) -> bool:
    return any(one.key == "ft_launch" for one in app.button)


def commanded(app: AppTest) -> tuple[str, dict[str, object]]:
    """(strategy, options) of the command on the page."""
    options = build_parser().parse_args(shlex.split(app.code[-1].value)[3:])
    return options.strategy, strategy_options(options)


def test_a_newcomer_sees_the_slider_and_every_strategy_is_one_box_away(page: AppTest) -> None:
    assert page.slider("depth").value == 1 and page.selectbox("ft_strategy").value == "depth"
    assert "strategy" not in page.query_params
    assert sorted(page.selectbox("ft_strategy").options) == sorted(
        one.title for one in STRATEGIES.values()
    )


@pytest.mark.parametrize("strategy", [name for name in STRATEGIES if name != "depth"])
def test_every_strategy_shows_its_card_and_is_queued_as_the_command_says(
    strategy: str, page: AppTest, tiny: Tiny
) -> None:
    choose(page, strategy)
    text = page_text(page).replace("\\", "")
    about = STRATEGIES[strategy]
    assert about.summary in text and about.when in text and about.source in text
    no_network = strategy in ("logistic-regression", "gradient-boosting")
    assert ("is no network: of the settings below" in text) == no_network
    assert not page.slider and page.query_params["strategy"].partition(":")[0] == strategy
    named, options = commanded(page)
    page.button("ft_launch").click().run()
    assert not page.exception
    runs = RunStore(tiny[0]).list()
    main = next(run for run in runs if run.strategy == strategy)
    assert named == strategy
    assert complete_options(strategy, options) == complete_options(
        strategy, main.finetune_request.options
    )
    assert sorted(run.strategy for run in runs) == sorted({strategy, *DEFAULT_CONTROLS})


def test_the_switches_of_the_surgical_stack_stay_when_other_fields_change(
    page: AppTest, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose(page, "surgical")
    card = card_of(tiny[0])
    key = f"stage_{card.id}_ft_{card.stages[0].name}"
    page.toggle(key).set_value(True).run()
    last = card.stages[-1].name
    assert page.query_params["strategy"] == f"surgical:stages={card.stages[0].name}+{last}"
    page.number_input("ft_epochs").set_value(7).run()
    page.radio("ft_head").set_value("new").run()
    assert page.toggle(key).value and "Head (new)" in page_html(page)
    page.radio("ft_head").set_value("keep").run()
    assert "Head (kept)" in page_html(page)
    again = open_page(
        tiny[0],
        "finetune",
        monkeypatch,
        **dict(page.query_params),
    )
    assert again.selectbox("ft_strategy").value == "surgical" and again.toggle(key).value


def page_html(app: AppTest) -> str:
    return " ".join(str(getattr(one, "body", "")) for one in app.get("html"))


def test_options_count_in_the_command_the_address_and_the_picture(page: AppTest) -> None:
    choose(page, "lora")
    page.number_input("ft_lora_rank").set_value(8).run()
    assert commanded(page) == ("lora", {"rank": 8})
    assert page.query_params["strategy"] == "lora:rank=8"
    drawn = page.get("html")[0].proto.body.rpartition("</style>")[2]
    assert "additions only" in drawn


def test_a_click_on_a_stage_trains_it(page: AppTest, tiny: Tiny) -> None:
    card = card_of(tiny[0])
    names = [stage.name for stage in card.stages]
    choose(page, "surgical")
    assert commanded(page) == ("surgical", {"stages": (names[-1],)})
    page.toggle(f"stage_{card.id}_ft_{names[0]}").set_value(True).run()
    assert commanded(page) == ("surgical", {"stages": (names[0], names[-1])})
    assert page.query_params["strategy"] == f"surgical:stages={names[0]}+{names[-1]}"
    assert stage_table(page).count("trained") == 3
    for name in (names[0], names[-1]):
        page.toggle(f"stage_{card.id}_ft_{name}").set_value(False).run()
    assert "at least one stage to train" in page.error[0].value and not launchable(page)
    assert len(page.toggle) == len(names) + 4, (
        "the stack stays, and the switches of averaged weights, cosine, bfloat16 and TF32"
    )


def test_unfreezing_and_rates_are_shown_by_stage(page: AppTest) -> None:
    choose(page, "gradual")
    lines = stage_table(page).splitlines()
    assert "From epoch" in lines[0] and "Rate" in lines[0]
    rate = float(page.number_input("ft_learning_rate").value or 0)
    block = next(line for line in lines if "Block 2" in line)
    assert ":small[2]" in block and f"{rate / 2.6:.2g}" in block
    page.number_input("ft_epochs").set_value(2).run()
    assert "opens its last stage in epoch" in page.error[0].value and not launchable(page)
    choose(page, "depth")
    assert "From epoch" not in stage_table(page) and launchable(page)


def test_the_address_brings_strategy_options_stages_and_settings(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = card_of(tiny[0])
    app = open_page(
        tiny[0],
        "finetune",
        monkeypatch,
        backbone=card.id,
        strategy="surgical:stages=block1+embedding",
        training="fast,epochs=7,validation_share=0.2,cosine=True,plateau=0,seed=3,device=cpu,amp=True,tf32=False",
        head="64-32,gelu,softmax",
    )
    assert commanded(app) == ("surgical", {"stages": ("embedding", "block1")})
    command = app.code[-1].value
    for flag in (
        "--epochs 7",
        "--validation-share 0.2",
        "--cosine",
        "--plateau 0",
        "--seed 3",
        "--device cpu",
        "--amp",
        "--no-tf32",
    ):
        assert flag in command
    assert "--head-hidden 64,32 --head-activation gelu --head-output softmax" in command
    # From now on the fields decide, whatever an overtaken edit of the browser still says.
    app.number_input("ft_epochs").set_value(9).run()
    assert "--epochs 9" in app.code[-1].value and "epochs=9" in app.query_params["training"]


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("strategy", "lora:rank=999", "Rank is 999"),
        ("strategy", "lora:rank=many", "neither a freeze depth nor a strategy"),
        ("strategy", "lora:depth=1", "has no options"),
        ("strategy", "surgical:stages=roof", "not in this backbone"),
        ("strategy", "<b>magic</b>", "neither a freeze depth nor a strategy"),
        ("training", "warp", "no preset"),
        ("training", "small,epochs=-1", "epochs is -1"),
        ("training", "small,learning_rate=nan", "learning rate is nan"),
        ("training", "small,learning_rate=1e-12", "learning rates from 1e-07"),
        ("training", "small,validation_share=0.999", "validation shares 0.01 to 0.9"),
        ("training", "small,__init__=1", "not a training setting"),
        ("training", "small,epochs=1e3", "not a training setting"),
        ("head", "64", "A head is written as"),
        ("head", "99999,relu,logit", "cannot be used"),
        ("head", "x,relu,logit", "'x'"),
    ],
)
def test_a_url_with_invalid_values_is_reported(
    name: str, value: str, sentence: str, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = open_page(tiny[0], "finetune", monkeypatch, backbone="simulated-dnn", **{name: value})
    assert any(sentence in one.value and "ignored" in one.value for one in app.warning)
    assert (
        launchable(app)
        and app.selectbox("ft_strategy").value == "depth"
        and name not in app.query_params
    )


def test_a_card_without_counts_says_so_instead_of_probing(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = copy_to_workspace(tiny[0], "dnn", ("supervised",) * 3)
    bare = tuple(
        dataclasses.replace(stage, biases_norms=None, linear_widths=None) for stage in card.stages
    )
    save_card(dataclasses.replace(card, stages=bare), tiny[0].backbones / card.id)
    app = open_page(tiny[0], "finetune", monkeypatch, backbone="mine")
    choose(app, "bitfit")
    assert "export the backbone and import it again" in app.error[0].value and not launchable(app)
