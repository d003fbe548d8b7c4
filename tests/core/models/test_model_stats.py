"""Costs are counted in another process, equal those of the built network, are cached, and refused
with a message."""

import subprocess
import time
from typing import Any

import pytest

from core.cli.parser import main
from core.data.datasets import Dataset
from core.data.preprocessing import load_preprocessing
from core.errors import BadInput
from core.models import model_stats
from core.models.backbone import build_network
from core.models.card import HeadSettings
from core.models.measure_stats import measure_stats
from core.models.model_stats import ModelStats, StatsRequest, count_in_background, load_stats
from core.models.registry import ARCHITECTURES, is_installed, settings_to_flags
from core.workspace import Workspace

Tiny = tuple[Workspace, Dataset]


def counted(workspace: Workspace, dataset: Dataset, wanted: StatsRequest) -> dict[str, ModelStats]:
    """All of `wanted` once it has been counted."""
    deadline = time.monotonic() + 120
    while len(load_stats(workspace, dataset, wanted)) < len(wanted) and time.monotonic() < deadline:
        count_in_background(workspace, dataset, wanted)
        time.sleep(0.05)
    return load_stats(workspace, dataset, wanted)


def test_a_separate_process_counts_once_and_the_result_is_stored(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, dataset = tiny
    wanted: StatsRequest = {"dnn": {"widths": [8, 4], "embedding": 2, "batch_norm": True}}
    found = counted(workspace, dataset, wanted)["dnn"]
    sizes = load_preprocessing(dataset.folder / "preprocessing").field_sizes
    inputs = 39 * 2 + 13
    assert [stage.title for stage in found.stages] == ["Embedding", "Block 1", "Block 2"]
    # BatchNorm takes the place of the bias: a factor and a shift a unit.
    assert [stage.parameters for stage in found.stages] == [
        2 * sum(sizes),
        inputs * 8 + 16,
        8 * 4 + 8,
    ]
    assert [stage.flops for stage in found.stages] == [0, 2 * inputs * 8, 2 * 8 * 4]
    assert (found.values, found.representation, found.members) == (sum(sizes), 4, 1)
    assert found.parameters == sum(stage.parameters for stage in found.stages)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("counted again")

    monkeypatch.setattr(subprocess, "Popen", never)
    assert counted(workspace, dataset, wanted)["dnn"] == found
    assert not load_stats(workspace, dataset, {"dnn": {"widths": [8, 4], "embedding": 2}})


def test_settings_that_make_no_network_are_refused_in_the_networks_own_sentence(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started: list[list[str]] = []
    real = subprocess.Popen

    def here(command: list[str], **options: Any) -> subprocess.Popen[str]:
        started.append(command)
        status = main(command[3:])
        script = 'echo "a warning" >&2; echo "$1" >&2; exit "$0"'
        ended = real(["sh", "-c", script, str(status), capsys.readouterr().err.strip()], **options)
        ended.wait()
        return ended

    monkeypatch.setattr(subprocess, "Popen", here)
    for _ in range(2):
        with pytest.raises(BadInput, match="^3 attention heads cannot share 32 floats"):
            count_in_background(*tiny, {"autoint": {"heads": 3}})
    assert len(started) == 1, "what cannot be is not tried again"


@pytest.mark.parametrize(
    "architecture", [name for name, one in ARCHITECTURES.items() if not one.required_package]
)
def test_counting_without_memory_gives_what_the_real_network_has(architecture: str) -> None:
    sizes = [5] * 39
    cost = measure_stats(architecture, {}, sizes)
    network = build_network(architecture, {}, sizes, HeadSettings())
    for stage, counted in zip(network.stage_list(), cost.stages, strict=True):
        assert counted.parameters == sum(parameter.numel() for parameter in stage.parameters())
    assert cost.stages[-1].outputs == cost.representation * cost.members


def test_attention_counts_its_products_on_every_device() -> None:
    cost = measure_stats(
        "autoint", {"layers": 1, "heads": 2, "attention": 32, "widths": [4]}, [5] * 39
    )
    projections = 4 * 2 * 39 * 16 * 32
    scores_and_mixing = 2 * 2 * 39 * 39 * 32
    block = 2 * (39 * 16 + 13) * 4
    assert cost.stages[1].flops == projections + scores_and_mixing + block


def test_an_absent_package_is_noticed_without_importing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.models.registry.find_spec", lambda name: None)
    assert is_installed("dnn")
    assert not any(
        is_installed(name) for name, one in ARCHITECTURES.items() if one.required_package
    )


def test_flags_say_settings_as_the_command_line_takes_them() -> None:
    flags = settings_to_flags({"widths": [64, 32], "batch_norm": False, "dropout": 0.1})
    assert flags == ["--widths", "64,32", "--no-batch-norm", "--dropout", "0.1"]


def test_a_limited_number_of_settings_is_counted_at_once(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any visitor can ask for other settings; what finds no place is counted when it is asked for
    again."""
    workspace, dataset = tiny
    monkeypatch.setattr(model_stats, "_processes", {})
    wanted: StatsRequest = {"dnn": {"widths": [8]}}
    started: list[subprocess.Popen[str]] = []

    def start(*_: object) -> subprocess.Popen[str]:
        started.append(subprocess.Popen(["sleep", "60"], stderr=subprocess.PIPE, text=True))
        return started[-1]

    monkeypatch.setattr(model_stats, "_start", start)
    for width in range(1, 3 * model_stats.MAX_PROCESSES):
        count_in_background(workspace, dataset, {"dnn": {"widths": [width]}})
    assert len(started) == model_stats.MAX_PROCESSES
    started[0].kill()
    started[0].wait()
    count_in_background(workspace, dataset, wanted)
    assert len(started) == model_stats.MAX_PROCESSES + 1
    for one in started:
        one.kill()
        one.communicate()


def test_of_processes_that_have_ended_the_oldest_are_forgotten(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each keeps a file open until its sentence is read."""
    workspace, dataset = tiny
    monkeypatch.setattr(model_stats, "_processes", {})
    monkeypatch.setattr(model_stats, "_last_lines", {})
    monkeypatch.setattr(model_stats, "MAX_ENDED", 2)
    monkeypatch.setattr(
        model_stats,
        "_start",
        lambda *_: subprocess.Popen(
            ["sh", "-c", "echo refused >&2; exit 2"], stderr=subprocess.PIPE, text=True
        ),
    )
    for width in range(1, 7):
        with pytest.raises(BadInput, match="refused"):
            while True:
                count_in_background(workspace, dataset, {"dnn": {"widths": [width]}})
                time.sleep(0.01)
    # The oldest go when a page next asks.
    assert len(model_stats._processes) == len(model_stats._last_lines) <= 3
