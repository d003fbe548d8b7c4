"""Submitting: what is refused, how controls are grouped, and commands that give the same run."""

import shlex
from pathlib import Path
from typing import Any

import pytest

from core.cli import backbone_commands, finetune_commands
from core.cli.parser import build_parser
from core.data.datasets import Dataset
from core.data.prepare import prepare
from core.data.reading.ingest import ingest
from core.data.samples import find_sample
from core.data.split import SplitSpec
from core.errors import BadInput
from core.jobs.requests import (
    FinetuneRequest,
    PretrainRequest,
    Request,
    TrainSettings,
    request_from_json,
    request_to_json,
)
from core.jobs.store import RunStore
from core.models.card import BackboneCard, HeadSettings
from core.runs import submit
from core.runs.command_lines import command_line
from core.runs.submit import submit_finetune, submit_interpolation, submit_pretrain
from core.training.default_settings import PRESETS
from core.workspace import BUNDLED_BACKBONES, Workspace
from tests.core.data.helpers import rows, text


@pytest.fixture(autouse=True)
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Lanes a worker was asked for; none is started."""
    queues: list[str] = []
    monkeypatch.setattr(submit, "ensure_worker", lambda workspace, queue: queues.append(queue))
    return queues


@pytest.fixture
def bundled() -> BackboneCard:
    from core.models.card import load_card

    return load_card(BUNDLED_BACKBONES / "simulated-dcnv2")


def test_a_run_with_its_controls(
    tiny: tuple[Workspace, Dataset], bundled: BackboneCard, started: list[str]
) -> None:
    workspace, dataset = tiny
    request = FinetuneRequest("tiny", bundled.name, "depth", 2, train=TrainSettings(device="cpu"))
    runs = submit_finetune(workspace, request, controls=("zero-shot", "scratch"))
    assert [run.strategy for run in runs] == ["depth", "zero-shot", "scratch"]
    assert len({run.group for run in runs}) == 1 and runs[0].group
    assert runs[0].name == "Simulated DCNv2 · freeze depth 2 · tiny"
    assert {run.request.dataset for run in runs} == {dataset.id}
    assert {run.finetune_request.backbone for run in runs} == {bundled.id}
    assert started == ["cpu"] * 3
    assert {run.status for run in RunStore(workspace).list()} == {"queued"}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"dataset": "nowhere"}, r"no dataset 'nowhere'; the datasets here are \['tiny'\]"),
        ({"backbone": "none"}, r"no backbone 'none'; the backbones here are \["),
        ({"freeze_depth": 6}, r"Freeze depth 6 does not fit .* it has 5 stages"),
        ({"freeze_depth": -1}, "freeze depth is -1"),
        ({"strategy": "hope"}, "strategy is 'hope'"),
    ],
)
def test_what_cannot_run_is_refused_before_it_waits(
    changes: dict[str, Any], sentence: str, tiny: tuple[Workspace, Dataset], started: list[str]
) -> None:
    workspace, _ = tiny
    with pytest.raises(BadInput, match=sentence):
        submit_finetune(
            workspace,
            FinetuneRequest(**{"dataset": "tiny", "backbone": "simulated-dcnv2", **changes}),
        )
    assert RunStore(workspace).list() == [] and started == []


def test_an_unknown_control_is_refused(
    tiny: tuple[Workspace, Dataset], bundled: BackboneCard
) -> None:
    workspace, _ = tiny
    request = FinetuneRequest("tiny", bundled.name, train=TrainSettings(device="cpu"))
    for controls in (["scrach"], ["scratch", "lora"]):
        with pytest.raises(BadInput, match=r"There is no control .*\['zero-shot', .*'scratch'\]"):
            submit_finetune(workspace, request, controls=controls)
    assert RunStore(workspace).list() == []
    assert len(submit_finetune(workspace, request, controls="scratch")) == 2


@pytest.mark.parametrize("status", ["failed", "cancelled", "interrupted"])
def test_a_run_that_ended_without_a_model_is_not_interpolated(
    status: str, tiny: tuple[Workspace, Dataset], bundled: BackboneCard
) -> None:
    workspace, _ = tiny
    request = FinetuneRequest(
        "tiny", bundled.name, train=TrainSettings(device="cpu"), keep_head=True
    )
    (run,) = submit_finetune(workspace, request)
    store = RunStore(workspace)
    store.claim("cpu", 1)
    store.finish(run.id, status, "for a test")
    with pytest.raises(BadInput, match=f"is {status}, so there are no trained weights to mix"):
        submit_interpolation(workspace, store.get(run.id))
    assert store.list(kind="interpolate") == []
    store.resume(run.id)
    assert submit_interpolation(workspace, store.get(run.id)).status == "queued"


def test_pretraining_needs_a_free_name_and_source_rows(tiny: tuple[Workspace, Dataset]) -> None:
    workspace, dataset = tiny
    with pytest.raises(BadInput, match="already a backbone named 'Simulated DNN'"):
        submit_pretrain(workspace, PretrainRequest("tiny", "dnn", "Simulated DNN"))
    submit_pretrain(workspace, PretrainRequest("tiny", "dnn", "mine"))
    with pytest.raises(BadInput, match="or one being pretrained"):
        submit_pretrain(workspace, PretrainRequest("tiny", "dnn", " mine "))
    with pytest.raises(BadInput, match=r"has no settings \['depth'\]"):
        submit_pretrain(workspace, PretrainRequest("tiny", "dnn", "other", settings={"depth": 3}))
    sample = find_sample(workspace, dataset.sample_id)
    prepare(workspace, sample, SplitSpec(source_share=0), "no source", min_count=5)
    with pytest.raises(BadInput, match="has no source domain"):
        submit_pretrain(workspace, PretrainRequest("no source", "dnn", "other"))


def test_without_labels_only_what_reads_none_is_queued(
    workspace: Workspace, tmp_path: Path, started: list[str]
) -> None:
    path = tmp_path / "unlabelled.tsv"
    path.write_bytes(text(rows(300, labelled=False)))
    prepare(workspace, ingest(workspace, path, "no labels"), SplitSpec(), "no labels", min_count=5)
    with pytest.raises(
        BadInput, match="'no labels' has no labels .* only pretraining by RFD or MFP"
    ):
        submit_pretrain(workspace, PretrainRequest("no labels", "dnn", "mine"))
    with pytest.raises(BadInput, match="'no labels' has no labels"):
        submit_finetune(workspace, FinetuneRequest("no labels", "simulated-dnn"))
    assert started == []
    for objective in ("rfd", "mfp", "none"):
        submit_pretrain(
            workspace, PretrainRequest("no labels", "dnn", objective, objective=objective)
        )
    assert len(started) == 3


REQUESTS: list[Request] = [
    FinetuneRequest("tiny", "simulated-dnn", "depth", 2),
    FinetuneRequest(
        "tiny",
        "simulated-dnn",
        "scratch",
        0,
        HeadSettings((64, 32), "gelu", "softmax"),
        PRESETS["article"],
    ),
    FinetuneRequest(
        "tiny",
        "simulated-dnn",
        "depth",
        0,
        train=TrainSettings(seed=7, device="cpu", validation_share=0.2),
    ),
    FinetuneRequest(
        "tiny",
        "simulated-dnn",
        "linear-probe",
        train=TrainSettings(learning_rate=3e-4, amp=True, plateau=0),
    ),
    PretrainRequest("tiny", "dcnv2", "a name with spaces", PRESETS["small"]),
    PretrainRequest(
        "tiny",
        "dcnv2",
        "wide",
        TrainSettings(epochs=3),
        {"widths": [64, 32], "crosses": 3, "batch_norm": True},
    ),
]


@pytest.mark.parametrize("request_", REQUESTS)
def test_the_command_line_asks_for_the_same_run(
    request_: Request, tiny: tuple[Workspace, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, _ = tiny
    asked: list[Request] = []

    def keep(_: Workspace, request: Request, *rest: object) -> Any:
        asked.append(request)
        return [None]

    monkeypatch.setattr(finetune_commands, "submit_finetune", keep)
    monkeypatch.setattr(backbone_commands, "submit_pretrain", keep)
    for module in (backbone_commands, finetune_commands):
        monkeypatch.setattr(module, "follow_run", lambda *_: None)
    words = shlex.split(command_line(workspace, request_))
    assert words[:3] == ["python", "-m", "core"]
    options = build_parser().parse_args(words[3:])
    options.run(workspace, options)
    got = asked[0]
    if isinstance(request_, FinetuneRequest):
        assert isinstance(got, FinetuneRequest)
        assert got.backbone == "Simulated DNN"
        assert (got.strategy, got.freeze_depth, got.head) == (
            request_.strategy,
            request_.freeze_depth,
            request_.head,
        )
    else:
        assert isinstance(got, PretrainRequest) and isinstance(request_, PretrainRequest)
        assert (got.architecture, got.name, got.settings) == (
            request_.architecture,
            request_.name,
            request_.settings,
        )
    assert got.train == request_.train


@pytest.mark.parametrize("request_", REQUESTS)
def test_requests_survive_json(request_: Request, tmp_path: Path) -> None:
    assert request_from_json(request_to_json(request_)) == request_


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"batch_size": 0}, "batch size is 0"),
        ({"learning_rate": 0.0}, "learning rate is 0.0"),
        ({"validation_share": 1.0}, "validation share is 1.0"),
        ({"device": "tpu"}, "device is 'tpu'"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_settings_are_checked_at_the_door(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        TrainSettings(**settings)
