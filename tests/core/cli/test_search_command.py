"""The command of a search submits the same search, says what it takes, and runs it to its end."""

import dataclasses
import json
import shlex

import pytest

from core.cli.parser import build_parser, main
from core.cli.search_command import search_spec
from core.data.datasets import Dataset
from core.errors import BadInput
from core.models.backbone_store import list_backbones
from core.models.card import BackboneCard
from core.runs.command_lines import sweep_command_line
from core.runs.search_defaults import make_search_spec
from core.runs.search_result import estimate_search
from core.runs.search_spec import SearchSpec
from core.runs.sweep import Arm, SweepSpec, plan_arms
from core.runs.sweep_estimate import estimate_sweep
from core.training.default_settings import preset_settings, target_rows_and_share
from core.workspace import Workspace


def card_of(workspace: Workspace) -> BackboneCard:
    return next(card for card in list_backbones(workspace) if card.architecture == "dnn")


def a_search(
    tiny: tuple[Workspace, Dataset], search: SearchSpec, head: str | None = None, **more: object
) -> SweepSpec:
    workspace, dataset = tiny
    card = card_of(workspace)
    rows, share = target_rows_and_share(dataset)
    train = preset_settings("auto", rows, validation_share=share)
    keep = head != "new"
    spec = make_search_spec(dataset, card, search, train, card.head, keep, head_choice=head)
    return dataclasses.replace(spec, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("search", "head", "changes"),
    [
        (SearchSpec(runs=20), None, {}),
        (SearchSpec(runs=8, minutes=2.5, seed=3, trial_seeds=2), None, {"seeds": (0,)}),
        (SearchSpec(runs=0, minutes=10, pruner="none"), "keep", {"inputs": "refitted"}),
        (SearchSpec(runs=5), "new", {"arms": (Arm("depth", 1), Arm("lora", 0, {"rank": 8}))}),
    ],
)
def test_the_command_asks_for_the_same_search(
    tiny: tuple[Workspace, Dataset],
    search: SearchSpec,
    head: str | None,
    changes: dict[str, object],
) -> None:
    workspace, _ = tiny
    spec = a_search(tiny, search, head, **changes)
    words = shlex.split(sweep_command_line(workspace, spec, "a name"))
    options = build_parser().parse_args(words[words.index("search") :])
    assert search_spec(workspace, options) == spec


def test_the_estimate_is_the_mean_run_times_the_budget(tiny: tuple[Workspace, Dataset]) -> None:
    workspace, dataset = tiny
    spec = a_search(tiny, SearchSpec(runs=12))
    plans = plan_arms(card_of(workspace), spec)
    seconds = [
        estimate_sweep(
            dataset, plans, dataclasses.replace(spec, arms=(arm,), seeds=(0,), search=None), []
        ).seconds
        for arm in spec.arms
    ]
    found, judging = estimate_search(dataset, plans, spec, [])
    mean = sum(seconds) / len(seconds)
    # A frozen prefix is counted once for all strategies that share it.
    assert found.seconds == pytest.approx(12 * mean, rel=0.05)
    assert judging == pytest.approx(6 * mean, rel=0.05)
    short = dataclasses.replace(spec, search=SearchSpec(runs=12, minutes=mean / 60))
    assert estimate_search(dataset, plans, short, [])[0].seconds == pytest.approx(
        2 * mean, rel=0.05
    )


def test_the_command_searches_judges_and_can_be_given_again(
    tiny: tuple[Workspace, Dataset], capsys: pytest.CaptureFixture[str]
) -> None:
    workspace, _ = tiny
    words = ["--workspace", str(workspace.root), "search", "--name", "one", "--here", "--json"]
    asked = [*words, "--dataset", "tiny", "--backbone", card_of(workspace).name]
    asked += ["--runs", "3", "--seeds", "1", "--epochs", "1", "--batch-size", "256"]
    asked += ["--head", "new", "--device", "cpu", "--depths", "0,1"]
    assert main([*asked, "--dry-run"]) == 0
    assert json.loads(capsys.readouterr().out)["judging"]["runs"] == 3
    assert main(asked) == 0
    printed = capsys.readouterr()
    first = json.loads(printed.out)
    found = first["search"]
    assert (found["phase"], found["runs"], len(found["trials"])) == ("done", 3, 3)
    assert found["budget"] == {"runs": 3, "minutes": None}
    losses = [one["validation_log_loss"] for one in found["trials"]]
    assert found["best"]["validation_log_loss"] == min(losses)
    assert "zero-shot" in [arm["arm"] for arm in first["arms"]]
    # Nothing is left to do, so that the same search is printed.
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out)["search"] == found


def test_a_search_takes_two_rates(tiny: tuple[Workspace, Dataset]) -> None:
    workspace, _ = tiny
    words = ["search", "--name", "x", "--dataset", "tiny", "--backbone", card_of(workspace).name]
    options = build_parser().parse_args([*words, "--rates", "1e-4"])
    with pytest.raises(BadInput, match="name two, the lowest and the highest"):
        search_spec(workspace, options)
