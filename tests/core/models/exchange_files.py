"""A backbone of random weights, its exported members, and archives made of them with a fault
each."""

import dataclasses
import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from core.data.datasets import Dataset
from core.data.preprocessing import load_preprocessing
from core.errors import BadInput
from core.models.backbone import build_network, describe_stages, save_backbone
from core.models.backbone_import import import_backbone
from core.models.card import BackboneCard, HeadSettings
from core.models.exchange import MEMBER_SIZE_LIMITS
from core.models.registry import ARCHITECTURES, complete_settings
from core.workspace import Workspace
from tests.core.data.helpers import fingerprint
from tests.core.models.references import SMALL

CARD, STATISTICS, VOCABULARY, WEIGHTS = MEMBER_SIZE_LIMITS


Files = dict[str, bytes]


def stored_backbone(
    workspace: Workspace, dataset: Dataset, architecture: str = "dnn"
) -> BackboneCard:
    """A backbone of random weights on the vocabulary of `dataset`, with everything a pretrained one
    has."""
    folder = dataset.folder / "preprocessing"
    small = {
        name: value for name, value in SMALL.items() if name in ARCHITECTURES[architecture].defaults
    }
    torch.manual_seed(0)
    network = build_network(
        architecture, small, load_preprocessing(folder).field_sizes, HeadSettings((3,))
    ).eval()
    card = BackboneCard(
        id="b-first",
        name="first",
        architecture=architecture,
        settings=complete_settings(architecture, small),
        stages=tuple(
            dataclasses.replace(stage, origin="random") for stage in describe_stages(network, 39)
        ),
        representation=network.representation,
        members=network.members,
        head=HeadSettings((3,)),
        trained_on={
            "dataset": dataset.name,
            "content_hash": dataset.content_hash,
            "rows": 1539,
            "simulated": True,
            "domain": "source",
        },
        metrics={"auc": 0.7, "auc_low": 0.6, "auc_high": 0.8, "log_loss": 0.5, "rows": 300},
        preprocessing_hash=dataset.preprocessing_hash,
        weights_sha256="",
        licence="Apache-2.0 (simulated data)",
        created="2026-11-25T12:00:00+00:00",
    )
    return save_backbone(network, card, folder, workspace.backbones / card.id)


def packed(path: Path, files: Files, compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def with_card(files: Files, **changes: Any) -> Files:
    card = json.loads(files[CARD])
    for name, value in changes.items():
        card[name] = value
        if value is ...:
            del card[name]
    return files | {CARD: json.dumps(card).encode()}


def with_weights(files: Files, data: bytes) -> Files:
    return with_card(files | {WEIGHTS: data}, weights_sha256=hashlib.sha256(data).hexdigest())


def tensors(files: Files, tmp_path: Path) -> dict[str, torch.Tensor]:
    (tmp_path / "weights").write_bytes(files[WEIGHTS])
    return load_file(tmp_path / "weights")


def refused(workspace: Workspace, path: Path, sentence: str, name: str = "") -> None:
    """The import raises the sentence and leaves every byte of the workspace as it was."""
    before = fingerprint(workspace)
    with pytest.raises(BadInput, match=sentence):
        import_backbone(workspace, path, name)
    assert fingerprint(workspace) == before
