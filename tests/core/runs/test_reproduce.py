"""Commands that reproduce a run or sweep give the same request when parsed."""

import dataclasses
import shlex
from argparse import Namespace
from pathlib import Path

import pytest

from core.cli import sweep_command
from core.cli.data_commands import ingest as ingest_command
from core.cli.parser import build_parser
from core.data.datasets import Dataset
from core.data.prepare import prepare, prepare_files
from core.data.reading.ingest import ingest
from core.data.samples import find_sample, save_sample
from core.data.simulate import simulate
from core.data.split import SplitSpec
from core.jobs.requests import FinetuneRequest, TrainSettings
from core.jobs.store import RunStore
from core.models.backbone_store import find_backbone
from core.models.card import HeadSettings
from core.runs.reproduce import data_commands, fits_one_command, run_commands, sweep_commands
from core.runs.sweep import Arm, Sweep, SweepSpec, expand_requests
from core.training.default_settings import PRESETS
from core.workspace import Workspace

BACKBONE = "simulated-dcnv2"


def parsed(line: str) -> Namespace:
    words = shlex.split(line)
    assert words[:3] == ["python", "-m", "core"]
    return build_parser().parse_args(words[3:])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"arms": (Arm("linear-probe"), Arm("zero-shot")), "seeds": (0,)},
        {
            "arms": (
                Arm("surgical", options={"stages": ["cross1", "block2"]}),
                Arm("lora", options={"rank": 4}),
            )
        },
        {
            "arms": tuple(
                Arm("surgical", options={"stages": [stage]}) for stage in ("cross1", "block2")
            )
        },
        {"learning_rates": (1e-3, 3e-4), "target_sizes": (100, 0)},
        {"head": HeadSettings((16, 4), "gelu", "softmax"), "train": PRESETS["small"]},
        {
            "train": TrainSettings(
                epochs=7, plateau=0, cosine=True, amp=True, validation_share=0.25, device="cpu"
            )
        },
    ],
)
def test_a_sweep_comes_back_from_its_command(
    tiny: tuple[Workspace, Dataset], changes: dict
) -> None:
    workspace, dataset = tiny
    card = find_backbone(workspace, BACKBONE)
    arms = (Arm("depth", 0), Arm("depth", 2), Arm("full"))
    spec = dataclasses.replace(SweepSpec(dataset.id, card.id, arms, (0, 1)), **changes)
    assert fits_one_command(dataset, spec)
    options = parsed(sweep_commands(workspace, Sweep("s-1", "mine - 1", spec, ""))[-1])
    assert options.name == "mine - 1"
    read = sweep_command.sweep_spec(workspace, options)
    assert {one.title for one in read.arms} == {one.title for one in spec.arms}
    assert {repr(one) for one in map(_comparable, expand_requests(read))} == {
        repr(one) for one in map(_comparable, expand_requests(spec))
    }


def _comparable(request: FinetuneRequest) -> FinetuneRequest:
    """Lists of stages come from the command line as tuples."""
    options = {
        name: tuple(one) if isinstance(one, list) else one for name, one in request.options.items()
    }
    return dataclasses.replace(request, options=options)


@pytest.mark.parametrize(
    "changes",
    [
        {"seeds": (1, 2)},
        {"arms": (Arm("lora", options={"rank": 2}), Arm("lora", options={"rank": 4}))},
    ],
)
def test_settings_that_one_command_cannot_express_are_given_run_by_run(
    tiny: tuple[Workspace, Dataset], changes: dict
) -> None:
    workspace, dataset = tiny
    spec = dataclasses.replace(SweepSpec(dataset.id, BACKBONE, (Arm("full"),), (0,)), **changes)
    assert not fits_one_command(dataset, spec)
    lines = sweep_commands(workspace, Sweep("s-1", "mine", spec, ""))
    assert sum(" finetune " in line for line in lines) == len(expand_requests(spec))
    assert any("comes with Thaw (weights SHA-256" in line for line in lines)


def test_a_dataset_comes_back_from_its_command(
    workspace: Workspace, tiny: tuple[Workspace, Dataset]
) -> None:
    other, dataset = tiny
    sample = find_sample(other, dataset.sample_id)
    assert sample.content_hash in data_commands(other, dataset)[0]
    spec = SplitSpec("random", source_share=0.5, target_test_share=0.3, seed=7)
    odd = prepare(other, sample, spec, "odd", 3)
    for made in (dataset, odd):
        options = parsed(data_commands(other, made)[-1])
        options.path = str(other.uploads / "tiny.tsv")
        found = ingest_command(workspace, options).data["dataset"]
        assert found["content_hash"] == made.content_hash and found["simulated"]


def test_a_dataset_of_several_files_comes_back_from_its_commands(
    workspace: Workspace, tiny: tuple[Workspace, Dataset], tmp_path: Path
) -> None:
    other, _ = tiny
    files = {}
    for seed, role in enumerate(("source", "target", "target_test")):
        path = tmp_path / f"{role}.tsv"
        simulate(path, 400, "both", seed=seed)
        files[role] = ingest(other, path, role, simulated=True)
        if seed:
            # The last two have one name, as earlier versions allowed: a command tells them apart.
            files[role] = dataclasses.replace(files[role], name="rows")
            save_sample(files[role])
    spec = SplitSpec(source_test_share=0.2, shuffle=True, seed=5)
    made = prepare_files(other, files, spec, "several", min_count=4)
    lines = data_commands(other, made)
    assert [line.split()[3] for line in lines if not line.startswith("#")] == ["ingest"] * 3 + [
        "prepare"
    ]
    assert [
        sample.content_hash in line
        for sample, line in zip(files.values(), lines[::2], strict=False)
    ] == [True] * 3
    for line in lines[1:-1:2]:
        options = parsed(line)
        options.path = str(tmp_path / options.path)
        assert options.no_prepare and options.simulated
        ingest_command(workspace, options)
    options = parsed(lines[-1])
    assert options.run(workspace, options).data["dataset"]["content_hash"] == made.content_hash


def test_a_small_dataset_says_its_minimum_count_only_where_it_is_not_the_default(
    tiny: tuple[Workspace, Dataset], tmp_path: Path
) -> None:
    workspace, dataset = tiny
    sample = find_sample(workspace, dataset.sample_id)
    usual = prepare(workspace, sample, SplitSpec(source_share=0.5), "usual")
    as_before = prepare(workspace, sample, SplitSpec(source_share=0.5), "as before", min_count=10)
    assert "--min-count" not in data_commands(workspace, usual)[-1]
    assert data_commands(workspace, as_before)[-1].endswith("--min-count 10")


def test_what_the_command_line_cannot_name_is_a_comment(
    tiny: tuple[Workspace, Dataset], tmp_path: Path
) -> None:
    workspace, _ = tiny
    strange = tmp_path / "a\nb $(x).tsv"
    strange.write_bytes((workspace.uploads / "tiny.tsv").read_bytes() + b"\n")
    sample = ingest(workspace, strange, "strange", simulated=True)
    made = prepare(
        workspace, sample, SplitSpec("column", column="C6", target_values=("",)), "by value", 5
    )
    lines = data_commands(workspace, made)
    assert len(lines) == 3 and "\n" not in lines[0] and all(line.startswith("# ") for line in lines)


def test_runs_from_the_file_to_each_of_them(tiny: tuple[Workspace, Dataset]) -> None:
    workspace, dataset = tiny
    store = RunStore(workspace)
    runs = [
        store.submit(FinetuneRequest(dataset.id, BACKBONE, freeze_depth=depth), "x", "cpu")
        for depth in (0, 1)
    ]
    lines = run_commands(workspace, runs)
    assert [line.split()[3] for line in lines if not line.startswith("#")] == [
        "ingest",
        "finetune",
        "finetune",
    ]
