"""Weights and vocabularies from others are checked before use, and refused with a message."""

import dataclasses
import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save

from benchmarks.torture_binaries import encrypted_parquet
from core.data.datasets import Dataset
from core.data.preprocessing import load_preprocessing
from core.models import backbone_import, foreign_files
from core.models.backbone import build_network, load_backbone
from core.models.backbone_import import import_backbone
from core.models.backbone_store import list_backbones
from core.models.card import BackboneCard
from core.models.exchange import MEMBER_SIZE_LIMITS
from core.models.network import Network
from core.models.objectives import ORIGINS
from core.models.registry import ARCHITECTURES, complete_settings
from core.workspace import Workspace
from tests.core.models.exchange_files import (
    CARD,
    STATISTICS,
    VOCABULARY,
    WEIGHTS,
    Files,
    packed,
    refused,
    stored_backbone,
    tensors,
    with_card,
    with_weights,
)


def test_stages_of_an_import_are_measured_not_trusted(
    files: Files, origin: BackboneCard, workspace: Workspace, tmp_path: Path
) -> None:
    stages = [
        {
            "name": stage.name,
            "title": "Better",
            "parameters": 1,
            "flops": -5,
            "outputs": 0,
            "origin": "rfd",
        }
        for stage in origin.stages
    ]
    changed = with_card(
        files,
        stages=stages,
        id="../../x",
        bundled=True,
        imported=False,
        objective="rfd",
        metrics={},
    )
    card = import_backbone(workspace, packed(tmp_path / "it.zip", changed))
    assert card.stages == tuple(dataclasses.replace(stage, origin="rfd") for stage in origin.stages)
    assert (card.bundled, card.imported, card.objective) == (False, True, "rfd")
    assert card.folder == workspace.backbones / card.id and len(card.id) == 10


def test_a_card_before_origins_claims_no_more_than_its_objective(
    files: Files, workspace: Workspace, tmp_path: Path
) -> None:
    named = [{"name": stage["name"]} for stage in json.loads(files[CARD])["stages"]]
    for objective, stated in (("none", "random"), ("mfp", "mfp")):
        path = packed(tmp_path / "it.zip", with_card(files, stages=named, objective=objective))
        card = import_backbone(workspace, path, objective)
        assert {stage.origin for stage in card.stages} == {stated}


def test_a_card_before_ranks_has_full_crosses(
    tiny: tuple[Workspace, Dataset], tmp_path: Path
) -> None:
    workspace, dataset = tiny
    card = stored_backbone(workspace, dataset, "dcnv2")
    files = {name: (card.folder / name).read_bytes() for name in MEMBER_SIZE_LIMITS}
    settings = {name: value for name, value in card.settings.items() if name != "rank"}
    imported = import_backbone(
        workspace, packed(tmp_path / "it.zip", with_card(files, settings=settings)), "second"
    )
    assert imported.settings == card.settings and card.settings["rank"] == 0
    settings["rank"] = 3
    refused(
        workspace,
        packed(tmp_path / "it.zip", with_card(files, settings=settings)),
        "The weights lack the tensor 'stages.1.linear.v.weight'",
        "third",
    )


def test_every_origin_can_be_imported() -> None:
    known = {
        name
        for about in ARCHITECTURES.values()
        for name in (*about.objectives, *about.initialisations)
    } - {"none"}
    assert known <= set(ORIGINS)


def vocabulary(files: Files, **columns: Any) -> bytes:
    table = pq.read_table(io.BytesIO(files[VOCABULARY]))
    stream = io.BytesIO()
    pq.write_table(pa.table(columns) if columns else table.slice(1), stream)
    return stream.getvalue()


def test_preprocessing_that_is_refused(files: Files, workspace: Workspace, tmp_path: Path) -> None:
    statistics = json.loads(files[STATISTICS])

    def changed(**values: Any) -> Files:
        return files | {STATISTICS: json.dumps(statistics | values).encode()}

    def given(data: bytes) -> Files:
        return files | {VOCABULARY: data}

    for fault, sentence in (
        (changed(mean=[0.0]), "preprocessing's mean must be 13 numbers"),
        (changed(mean=["0"] * 13), r"preprocessing.mean is '0'; it must be a finite number"),
        (changed(std=[0.0] * 13), "std holds 0.0; deviations must be above 0"),
        (changed(mean=[1.0] * 13), "its content does not match its hash"),
        (changed(min_count="x"), "preprocessing.min_count is 'x'"),
        (given(vocabulary(files)), "its content does not match its hash"),
        (given(b"PAR1junk"), "'vocabulary.parquet' cannot be read"),
        (
            given(vocabulary(files, field=["C1"], value=[1])),
            "has the columns .* it must have field and value as text",
        ),
        (
            given(vocabulary(files, field=["C1"], value=["x" * 20_000])),
            "a value of more than 4,096 letters",
        ),
        (
            given(vocabulary(files, field=["Z1"], value=["x"])),
            "values of a column 'Z1', which is none",
        ),
    ):
        refused(workspace, packed(tmp_path / "it.zip", fault), sentence)


@pytest.mark.usefixtures("read_in_process")
def test_vocabularies_beyond_measure_are_refused_before_they_are_decoded(
    files: Files, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repeated = vocabulary(files, field=["C1"] * 200_000, value=["x" * 100] * 200_000)
    assert len(repeated) < 100_000
    path = packed(tmp_path / "it.zip", files | {VOCABULARY: repeated})
    refused(workspace, path, "holds a value twice|does not match its hash")
    monkeypatch.setattr(foreign_files, "MAX_VALUES_BYTES", 10**7)
    refused(workspace, path, r"takes 20,400,000 bytes in memory; at most 10,000,000")
    monkeypatch.setattr(foreign_files, "MAX_VALUES", 1000)
    refused(workspace, path, "has 200,000 values; at most 1,000")


def header(entries: dict[str, Any], data: bytes = b"") -> bytes:
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + data


def test_weights_that_are_refused(files: Files, workspace: Workspace, tmp_path: Path) -> None:
    right = tensors(files, tmp_path)
    table = right["stages.0.table.weight"]
    ids = len(table)

    def changed(**values: torch.Tensor | None) -> bytes:
        named = right | {name.replace("__", "."): value for name, value in values.items()}
        return save({name: value for name, value in named.items() if value is not None})

    one = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    batches = "stages.1.layers.1.num_batches_tracked"
    for fault, sentence in (
        (changed(head__layers__0__weight=None), "lack the tensor 'head.layers.0.weight'"),
        (changed(extra=torch.zeros(1)), "hold a tensor 'extra', which a network 'dnn' has not"),
        (
            changed(stages__0__table__weight=table[1:].clone()),
            (
                rf"table.weight' has the shape \[{ids - 1}, 4\], but .* needs \[{ids}, 4\]; the"
                rf" vocabulary has {ids:,} ids"
            ),
        ),
        (changed(stages__0__table__weight=table.T.contiguous()), rf"has the shape \[4, {ids}\]"),
        (
            changed(stages__0__table__weight=table.half()),
            "is stored as F16, but F32 is needed: convert it",
        ),
        (changed(stages__0__table__weight=table.bfloat16()), "is stored as BF16, but F32"),
        (
            save(right | {batches: right[batches].float()}),
            f"'{batches}' is stored as F32, but I64 is needed",
        ),
        (
            changed(stages__0__table__weight=table * torch.nan),
            "'stages.0.table.weight' hold NaN or infinite numbers",
        ),
        (
            changed(stages__0__table__weight=table + torch.inf),
            "'stages.0.table.weight' hold NaN or infinite numbers",
        ),
        (
            save(
                {
                    name: value * 3e38 if value.is_floating_point() else value
                    for name, value in right.items()
                }
            ),
            "NaN|no fi",
        ),
        (struct.pack("<Q", 2**62) + b"{", "is not a complete safetensors file"),
        (struct.pack("<Q", 100) + b"{}", "is not a complete safetensors file"),
        (header({"a": one, "b": one}, bytes(8)), "is not a complete safetensors file"),
        (
            header({"a": one | {"data_offsets": [8, 16]}}, bytes(16)),
            "is not a complete safetensors file",
        ),
        (
            header({"a": one | {"shape": [2**40, 2**40]}}, bytes(8)),
            "is not a complete safetensors file",
        ),
        (header({"a": one | {"dtype": "PICKLE"}}, bytes(8)), "is not a complete safetensors file"),
        (header({"a": one}, bytes(4)), "is not a complete safetensors file"),
        (files[WEIGHTS][:-8], "is not a complete safetensors file"),
        (b"", "is not a complete safetensors file"),
    ):
        refused(workspace, packed(tmp_path / "it.zip", with_weights(files, fault)), sentence)


def test_a_negative_variance_gives_no_scores(
    files: Files, workspace: Workspace, tmp_path: Path
) -> None:
    right = tensors(files, tmp_path)
    right["stages.1.layers.1.running_var"].fill_(-1.0)
    fault = with_weights(files, save(right))
    refused(workspace, packed(tmp_path / "it.zip", fault), "scores that are no finite numbers")


def test_a_huge_card_is_refused_without_the_memory_it_asks_for(
    files: Files, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = complete_settings(
        "dcnv2", {"embedding": 256, "crosses": 8, "widths": [4096] * 8, "batch_norm": True}
    )
    names = ["embedding", *(f"cross{i}" for i in range(1, 9)), *(f"block{i}" for i in range(1, 9))]
    asked = with_card(
        files,
        architecture="dcnv2",
        settings=settings,
        stages=[{"name": name} for name in names],
        representation=4096,
        head={"hidden": [4096] * 4, "activation": "relu", "output": "logit"},
    )
    # The network would have a thousand million floats; none is ever made.
    devices: list[str] = []

    def build(*of: Any) -> Network:
        network = build_network(*of)
        devices.extend(tensor.device.type for tensor in network.state_dict().values())
        return network

    monkeypatch.setattr(backbone_import, "build_network", build)
    monkeypatch.setattr(backbone_import, "load_backbone", None)
    refused(
        workspace,
        packed(tmp_path / "it.zip", asked),
        r"has the shape \[\d+, 4\], but .* needs \[\d+, 256\]",
    )
    assert set(devices) == {"meta"}


def test_a_full_disk_gives_a_message(
    files: Files, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(card: BackboneCard, folder: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backbone_import, "save_card", full)
    refused(
        workspace,
        packed(tmp_path / "it.zip", files),
        r"cannot be read or stored \(No space left on device\)",
    )


def test_while_it_is_checked_no_list_shows_it(
    files: Files, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    real = backbone_import.load_backbone

    def look(card: BackboneCard) -> Any:
        seen.append(sum(one.name == "first" for one in list_backbones(workspace)))
        return real(card)

    monkeypatch.setattr(backbone_import, "load_backbone", look)
    import_backbone(workspace, packed(tmp_path / "it.zip", files))
    assert seen == [0]


def test_scores_of_the_imported_backbone_are_finite_on_any_id(
    files: Files, workspace: Workspace, tmp_path: Path
) -> None:
    card = import_backbone(workspace, packed(tmp_path / "it.zip", files))
    sizes = np.array(load_preprocessing(card.folder / "preprocessing").field_sizes)
    ids = torch.from_numpy(np.stack([sizes - 1, np.zeros_like(sizes)]))
    with torch.no_grad():
        assert torch.isfinite(load_backbone(card)((ids, torch.zeros(2, 13)))).all()


def test_a_backbone_with_an_unusable_vocabulary_is_refused(
    files: Files, workspace: Workspace, tmp_path: Path
) -> None:
    known = pq.read_table(io.BytesIO(files[VOCABULARY]))
    for columns in (["value"], ["field", "value"]):
        spoilt = encrypted_parquet(known, columns, plain_footer=True)
        refused(
            workspace,
            packed(tmp_path / "it.zip", files | {VOCABULARY: spoilt}),
            "'vocabulary.parquet'",
        )


def test_an_imported_vocabulary_is_rewritten(
    files: Files, workspace: Workspace, tmp_path: Path
) -> None:
    """Nothing of an imported Parquet file is stored, so it cannot crash a process that opens the
    backbone."""
    stream = io.BytesIO()
    pq.write_table(
        pq.read_table(io.BytesIO(files[VOCABULARY])), stream, compression="gzip", row_group_size=50
    )
    theirs = stream.getvalue()
    card = import_backbone(
        workspace, packed(tmp_path / "it.zip", files | {VOCABULARY: theirs}), "theirs"
    )
    kept = card.folder / VOCABULARY
    assert (
        kept.read_bytes() != theirs
        and pq.ParquetFile(kept).metadata.row_group(0).column(0).compression == "ZSTD"
    )
    assert pq.read_table(kept).equals(pq.read_table(io.BytesIO(theirs)))
    assert load_backbone(card)
