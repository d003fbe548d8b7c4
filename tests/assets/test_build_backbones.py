"""The script that rebuilds the bundled backbones depends on its seeds alone, and the bundled files
are what it makes."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from assets.build_backbones import (
    MIN_COUNT,
    ROWS,
    SEED,
    build,
    bundle,
    prepare_rows,
    recommended_training,
)
from core.data.preprocessing import load_preprocessing
from core.models.backbone import load_backbone
from core.models.card import load_card
from core.models.recommended_settings import recommended_settings
from core.models.registry import complete_settings
from core.workspace import BUNDLED_BACKBONES, hash_file, open_workspace

BUNDLED = (
    "simulated-dcnv2",
    "simulated-deepfm",
    "simulated-dnn",
    "simulated-finalmlp",
    "simulated-resnet",
)


def test_a_small_bundled_backbone_rebuilt_has_the_same_bits(tmp_path: Path) -> None:
    cards = []
    for place in ("a", "b"):
        workspace = open_workspace(tmp_path / place)
        dataset = prepare_rows(workspace, 3000, SEED)
        train = dataclasses.replace(recommended_training(dataset), epochs=2)
        card = build(workspace, dataset, "deepfm", train)
        bundle(card, tmp_path / f"bundle-{place}")
        cards.append(load_card(tmp_path / f"bundle-{place}"))
    first, second = cards
    assert first.weights_sha256 == second.weights_sha256
    assert first.metrics == second.metrics and first.preprocessing_hash == second.preprocessing_hash
    assert (
        first.bundled and first.trained_on["simulated"] and first.trained_on["domain"] == "source"
    )
    assert 0 < first.metrics["auc"] < 1 and first.n_dense == 65


@pytest.mark.parametrize("name", BUNDLED)
def test_what_is_bundled_is_whole(name: str) -> None:
    card = load_card(BUNDLED_BACKBONES / name)
    assert (card.id, card.bundled) == (name, True)
    assert hash_file(card.folder / "model.safetensors") == card.weights_sha256
    preprocessing = load_preprocessing(card.folder / "preprocessing")
    assert (preprocessing.hash, preprocessing.min_count) == (card.preprocessing_hash, MIN_COUNT)
    complete = complete_settings(card.architecture, card.settings)
    rows = round(0.6 * ROWS * 0.9 * 0.95)
    assert f"{ROWS:,}" in card.trained_on["dataset"] and card.trained_on["rows"] == rows
    assert complete == recommended_settings(card.architecture, rows)
    assert card.n_dense == preprocessing.n_dense == 13 + 26 + 26
    network = load_backbone(card)
    trained = sum(parameter.numel() for parameter in network.parameters())
    assert trained == card.parameters + card.head.parameters(card.representation)
    assert all(np.isfinite(tensor.numpy()).all() for tensor in network.state_dict().values())
    assert 0.765 < card.metrics["auc_low"] < card.metrics["auc"] < 0.79


def test_together_they_stay_under_ten_megabytes() -> None:
    assert (
        sum(path.stat().st_size for path in BUNDLED_BACKBONES.rglob("*") if path.is_file()) < 10e6
    )
