"""For one dataset the pages, the commands that they show and commands without options use equal
settings."""

import dataclasses
import shlex
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from core.cli import backbone_commands, finetune_commands, sweep_command
from core.cli.output import CommandResult
from core.cli.parser import build_parser
from core.data.datasets import Dataset
from core.data.prepare import prepare
from core.data.samples import find_sample
from core.data.split import SplitSpec
from core.jobs.requests import TrainSettings
from core.jobs.store import RunStore
from core.runs.sweep import SweepSpec, expand_requests, list_sweeps
from core.training.default_settings import PRESETS, default_settings
from core.workspace import Workspace
from tests.pages.helpers import open_page

pytestmark = pytest.mark.usefixtures("costs_in_process")
Tiny = tuple[Workspace, Dataset]
SOURCE, TARGET = 1539, 420
"""Training rows of the dataset tiny in each domain."""


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing trains, and no command waits for what it queued."""
    for place in ("core.runs.submit", "core.runs.sweep", "pages.components.sweep.sweep_form"):
        monkeypatch.setattr(f"{place}.ensure_worker", lambda workspace, queue: None)
    for module in (backbone_commands, finetune_commands):
        monkeypatch.setattr(
            module,
            "follow_run",
            lambda workspace, run: CommandResult({"run": dataclasses.asdict(run)}, ""),
        )


def commanded(workspace: Workspace, command: str) -> TrainSettings:
    """The settings of the run that a command queues, and of the controls beside it."""
    options = build_parser().parse_args(shlex.split(command))
    data = options.run(workspace, options).data
    runs = (data["run"], *data.get("controls", ()))
    (settings,) = {TrainSettings(**run["request"]["train"]) for run in runs}
    return settings


def shown(app: AppTest) -> str:
    """The command that the page shows, without `python -m core`."""
    line = next(one.value for one in app.code if one.value.startswith("python -m core"))
    return line.removeprefix("python -m core ")


def queued(workspace: Workspace) -> list[TrainSettings]:
    return [run.request.train for run in RunStore(workspace).list()]


@pytest.mark.parametrize(
    ("changes", "flags"),
    [
        ({}, ""),
        ({"epochs": 1}, "--epochs 1"),
        ({"learning_rate": 0.002, "early_stopping": 0}, "--lr 0.002 --early-stopping 0"),
        ({"validation_share": 0.4}, "--validation-share 0.4"),
    ],
)
def test_fine_tuning_gets_the_same_from_page_and_command(
    changes: dict[str, Any], flags: str, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, _ = tiny
    page = open_page(workspace, "finetune", monkeypatch, backbone="simulated-dnn")
    for field, value in changes.items():
        page.number_input(f"ft_{field}").set_value(value).run()
    command = shown(page)
    page.button("ft_launch").click().run()
    (of_page,) = {*queued(workspace)}
    plain = f"finetune --dataset tiny --backbone simulated-dnn --freeze-depth 0 {flags}"
    assert of_page == commanded(workspace, command) == commanded(workspace, plain)
    for field, value in changes.items():
        assert getattr(of_page, field) == value
    assert of_page.batch_size == default_settings(TARGET)[1].batch_size


@pytest.mark.parametrize("objective", ["supervised", "rfd", "none"])
def test_pretraining_gets_the_same_from_page_and_command(
    objective: str, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, _ = tiny
    page = open_page(workspace, "backbones", monkeypatch, section="Pretrain", dataset="tiny")
    page.selectbox("pt_objective").select(objective).run()
    command = shown(page)
    page.button("pt_launch").click().run()
    assert not page.exception
    (of_page,) = queued(workspace)
    start = f"pretrain --dataset tiny --architecture dnn --objective {objective}"
    words = shlex.split(command)
    words[words.index("--name") + 1] = "again"
    assert (
        of_page
        == commanded(workspace, shlex.join(words))
        == commanded(workspace, f"{start} --name plain")
    )
    assert of_page == (
        PRESETS["map"] if objective == "rfd" else default_settings(SOURCE, objective)[1]
    )


def test_a_sweep_gets_the_same_for_every_size_from_page_and_command(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, dataset = tiny
    monkeypatch.setattr("pages.components.sweep.sweep_form.TARGET_SIZES", (100, 1000))
    page = open_page(workspace, "sweep", monkeypatch, backbone="simulated-dnn")
    page.pills(f"sweep_sizes_{dataset.id}").set_value([100, 0]).run()
    page.selectbox("sweep_device").select("cpu").run()
    line = next(one.value for one in page.code if one.value.startswith("python -m core"))
    (said,) = [
        one.value for one in page.caption if "each target size has its own settings" in one.value
    ]
    assert "- 70 training rows: batch" in said and "- 420 training rows: batch" in said
    page.button("sweep_launch").click().run()
    assert not page.exception
    of_page = list_sweeps(workspace)[0].spec

    def read(command: str) -> SweepSpec:
        return sweep_command.sweep_spec(workspace, build_parser().parse_args(shlex.split(command)))

    assert read(line.removeprefix("python -m core ")) == of_page
    plain = (
        "sweep --name mine --dataset tiny --backbone simulated-dnn --depths all --strategies"
        " scratch,zero-shot"
    )
    assert read(f"{plain} --target-sizes 100,0 --device cpu").train_by_size == of_page.train_by_size
    batches = {
        one.target_rows: one.train.batch_size
        for one in expand_requests(of_page)
        if one.strategy == "depth"
    }
    assert batches == {
        100: default_settings(70)[1].batch_size,
        0: default_settings(TARGET)[1].batch_size,
    }
    assert {one.train.device for one in expand_requests(of_page)} == {"cpu"}


def test_auto_follows_the_dataset_and_other_settings_stay(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, _ = tiny
    # 300 target rows, of which 150 test and a tenth of the others validates.
    prepare(
        workspace, find_sample(workspace, "tiny"), SplitSpec(source_share=0.9), "few target rows"
    )
    page = open_page(workspace, "finetune", monkeypatch, backbone="simulated-dnn", dataset="tiny")
    first = page.number_input("ft_epochs").value
    page.selectbox("dataset").select("few target rows").run()
    assert page.segmented_control("ft_preset").value == "auto"
    assert page.number_input("ft_epochs").value == default_settings(105)[1].epochs
    assert first is not None and first < default_settings(105)[1].epochs
    page.number_input("ft_epochs").set_value(3).run()
    page.selectbox("dataset").select("tiny").run()
    assert (
        page.number_input("ft_epochs").value == 3
        and page.segmented_control("ft_preset").value is None
    )


def test_the_address_carries_what_differs_from_the_default(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = open_page(
        tiny[0], "finetune", monkeypatch, backbone="simulated-dnn", training="auto,epochs=7"
    )
    assert page.number_input("ft_epochs").value == 7
    assert page.number_input("ft_batch_size").value == default_settings(TARGET)[1].batch_size
    assert page.query_params["training"] == "auto,epochs=7"
    page.segmented_control("ft_preset").set_value("auto").run()
    assert "training" not in page.query_params
    for name in PRESETS:
        page = open_page(tiny[0], "finetune", monkeypatch, backbone="simulated-dnn", training=name)
        assert page.segmented_control("ft_preset").value == name
        assert page.number_input("ft_batch_size").value == PRESETS[name].batch_size


def test_a_command_says_what_it_chose(tiny: Tiny, capsys: pytest.CaptureFixture[str]) -> None:
    start = "finetune --dataset tiny --backbone simulated-dnn"
    for flags, said in (
        ("--freeze-depth 0", "Preset auto for 420 training rows: "),
        ("--freeze-depth 0 --target-rows 100 --epochs 1", "Preset auto for 70 training rows: "),
        (
            "--strategy scratch --preset small",
            "Preset small: batch 256, learning rate 0.0003, at most 10 epochs, 30 % of",
        ),
        ("--strategy zero-shot", ""),
    ):
        commanded(tiny[0], f"{start} {flags}")
        out, err = capsys.readouterr()
        assert err.startswith(said) and err.count("\n") == bool(said) and out == ""
        assert ("at most 1 epoch," in err) == ("--epochs 1" in flags)
