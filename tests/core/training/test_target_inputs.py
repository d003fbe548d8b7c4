"""A backbone with target statistics among its inputs, from pretraining to scored files."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from core.data.dataset_rows import load_encoded
from core.data.datasets import Dataset, find_dataset, select_training_rows
from core.data.preprocessing import load_preprocessing
from core.errors import BadInput
from core.jobs.requests import FinetuneRequest, PretrainRequest
from core.models.backbone import load_backbone
from core.models.backbone_import import import_backbone
from core.models.backbone_store import find_backbone, load_complete_card
from core.models.card import BackboneCard, load_card
from core.models.exchange import export_backbone, unpack_backbone
from core.training import prefix_cache
from core.training.target_inputs import hide_own_labels
from core.training.training_rows import load_rows
from core.workspace import Workspace, open_workspace
from tests.core.models.references import SMALL
from tests.core.training.helpers import QUICK, check_scored_file, load_predictions, run_request

Pretrained = tuple[Workspace, Dataset, BackboneCard]


@pytest.fixture(scope="module")
def template(tiny_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = shutil.copytree(tiny_template, tmp_path_factory.mktemp("inputs") / "workspace")
    workspace = open_workspace(root)
    settings = {name: SMALL[name] for name in ("embedding", "widths")}
    run_request(
        workspace,
        PretrainRequest(
            find_dataset(workspace, "tiny").id,
            "dnn",
            "with statistics",
            QUICK,
            settings,
            statistics="pairs",
        ),
    )
    return root


@pytest.fixture
def pretrained(template: Path, tmp_path: Path) -> Pretrained:
    workspace = open_workspace(shutil.copytree(template, tmp_path / "workspace"))
    return workspace, find_dataset(workspace, "tiny"), find_backbone(workspace, "with statistics")


def test_the_backbone_holds_the_statistics_and_the_dataset_does_not(pretrained: Pretrained) -> None:
    workspace, dataset, card = pretrained
    assert card.n_dense == 95
    own = load_preprocessing(card.folder / "preprocessing")
    plain = load_preprocessing(dataset.folder / "preprocessing")
    assert own.n_dense == 95 and own.hash == card.preprocessing_hash
    assert plain.hash == dataset.preprocessing_hash != own.hash
    assert not (dataset.folder / "preprocessing" / "statistics.parquet").exists()
    ids = load_encoded(workspace, dataset, plain).ids
    assert np.array_equal(ids, load_encoded(workspace, dataset, own).ids)


def test_only_the_rows_of_the_fit_are_out_of_fold(pretrained: Pretrained) -> None:
    workspace, dataset, card = pretrained
    preprocessing = load_preprocessing(card.folder / "preprocessing")
    parts = ("source_train", "source_validation", "target_train")
    rows = load_rows(workspace, dataset, card.folder / "preprocessing", parts)
    before = rows.state[1].clone()
    train, _ = select_training_rows(dataset, "source", None)
    hide_own_labels(workspace, dataset, preprocessing, rows, train)
    fitted = np.isin(rows.row_numbers, train)
    assert torch.equal(rows.state[1][~fitted], before[~fitted])
    assert torch.equal(rows.state[1][:, :13], before[:, :13])
    assert (rows.state[1][fitted] != before[fitted]).any(dim=0)[13:].all()
    # What is stored stays the encoding of any other row.
    again = load_rows(workspace, dataset, card.folder / "preprocessing", parts)
    assert torch.equal(again.state[1], before)


@pytest.mark.parametrize("depth", [0, 2])
def test_fine_tuning_keeps_the_source_tables_and_the_cache_changes_nothing(
    depth: int, pretrained: Pretrained, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    workspace, dataset, card = pretrained
    request = FinetuneRequest(dataset.id, card.id, freeze_depth=depth, train=QUICK)
    run = run_request(workspace, request)
    model = load_complete_card(workspace.runs / run.id / "model")
    assert model.n_dense == 95 and model.preprocessing_hash == card.preprocessing_hash
    name = "preprocessing/statistics.parquet"
    assert (model.folder / name).read_bytes() == (card.folder / name).read_bytes()
    frozen, tuned = load_backbone(card).state_dict(), load_backbone(model).state_dict()
    same = [torch.equal(frozen[key], tuned[key]) for key in frozen if key.startswith("stages.0.")]
    assert all(same) == (depth > 0)
    with monkeypatch.context() as patch:
        patch.setattr(prefix_cache, "MAX_ENTRY_BYTES", 0)
        uncached = run_request(workspace, request)
    cached_scores, scores = load_predictions(workspace, run), load_predictions(workspace, uncached)
    for key in scores:
        assert scores[key] == pytest.approx(cached_scores[key], abs=1e-5)
    if depth == 2:
        check_scored_file(workspace, dataset, run.id, tmp_path, scores["target_test_score"])


def test_it_is_exported_and_imported_with_its_statistics(
    pretrained: Pretrained, tmp_path: Path
) -> None:
    workspace, dataset, card = pretrained
    export_backbone(card, tmp_path / "backbone.zip")
    elsewhere = open_workspace(tmp_path / "elsewhere")
    imported = import_backbone(elsewhere, tmp_path / "backbone.zip")
    same = {"id": card.id, "folder": card.folder, "imported": False}
    assert dataclasses.replace(imported, **same) == card  # type: ignore[arg-type]
    ids, numerics = load_rows(
        workspace, dataset, imported.folder / "preprocessing", ("target_test",)
    ).state
    with torch.no_grad():
        assert torch.equal(
            load_backbone(imported)((ids, numerics)), load_backbone(card)((ids, numerics))
        )


def test_statistics_that_are_missing_or_do_not_fit_are_refused(
    pretrained: Pretrained, tmp_path: Path
) -> None:
    workspace, _, card = pretrained
    export_backbone(card, tmp_path / "backbone.zip")
    folder = tmp_path / "unpacked"
    unpack_backbone(tmp_path / "backbone.zip", folder)
    statistics, text = (
        folder / "preprocessing/statistics.parquet",
        (folder / "card.json").read_text(),
    )
    assert '"n_dense": 95' in text
    (folder / "card.json").write_text(text.replace('"n_dense": 95', '"n_dense": 65'))
    with pytest.raises(BadInput, match="n_dense is 65, but the preprocessing beside it gives 95"):
        import_backbone(workspace, folder, "wider")
    (folder / "card.json").write_text(text)
    data = statistics.read_bytes()
    statistics.write_bytes(data[:-100])
    with pytest.raises(BadInput, match="'statistics.parquet' cannot be read"):
        import_backbone(workspace, folder, "cut")
    statistics.unlink()
    with pytest.raises(BadInput, match="'statistics.parquet' is missing"):
        import_backbone(workspace, folder, "without")
    shutil.copy(folder / "preprocessing/vocabulary.parquet", statistics)
    with pytest.raises(BadInput, match="'statistics.parquet' has the columns"):
        import_backbone(workspace, folder, "other")


def test_cards_of_earlier_versions_have_13_numbers(tiny: tuple[Workspace, Dataset]) -> None:
    import json

    from tests.core.models.exchange_files import stored_backbone

    card = stored_backbone(*tiny)
    values = json.loads((card.folder / "card.json").read_text())
    del values["n_dense"]
    (card.folder / "card.json").write_text(json.dumps(values))
    assert load_card(card.folder) == card
