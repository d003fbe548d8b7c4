"""A run on a window is the same as an ordinary run on a dataset made of the same rows by hand."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from core.data.datasets import Dataset, find_dataset
from core.data.prepare import prepare_files
from core.data.reading.ingest import ingest
from core.data.split import SplitSpec
from core.data.windows import cut_windows
from core.errors import BadInput
from core.inference.evaluate_run import evaluate_on
from core.inference.run_model import load_model_card
from core.jobs.requests import FinetuneRequest, Window
from core.jobs.store import Run
from core.models.backbone_import import import_backbone
from core.models.card import BackboneCard
from core.models.exchange import export_backbone
from core.runs.verify import verify
from core.training.run_dataset import find_run_dataset
from core.workspace import Workspace
from tests.core.training.helpers import QUICK, load_predictions, pretrained, run_request

N_WINDOWS = 5
WINDOW = 2


@pytest.fixture
def card(tiny: tuple[Workspace, Dataset]) -> BackboneCard:
    return pretrained(tiny[0], "dnn")


def by_hand(workspace: Workspace, dataset: Dataset, number: int, folder: Path) -> Dataset:
    """A dataset of three files: all source rows, one window, and the next window."""
    lines = (workspace.uploads / "tiny.tsv").read_text().splitlines(keepends=True)
    cut = cut_windows(workspace, dataset, N_WINDOWS)
    first_target = int(cut[0][0])
    files = {
        "source": lines[:first_target],
        "target": [lines[row] for row in cut[number - 1]],
        "target_test": [lines[row] for row in cut[number]],
    }
    samples = {}
    for role, found in files.items():
        (folder / role).write_text("".join(found))
        samples[role] = ingest(workspace, folder / role, f"{role} {number}", simulated=True)
    return prepare_files(workspace, samples, SplitSpec(), f"by hand {number}", min_count=5)


def check_same(workspace: Workspace, window: Run, hand: Run, exactly: bool = True) -> None:
    ours, theirs = (load_predictions(workspace, run) for run in (window, hand))
    assert len(ours["target_test_score"]) == 240
    for name in ("target_test", "target_validation", "source_test"):
        np.testing.assert_array_equal(ours[f"{name}_label"], theirs[f"{name}_label"])
        for kind in ("score", "before"):
            if exactly:
                np.testing.assert_array_equal(ours[f"{name}_{kind}"], theirs[f"{name}_{kind}"])
    assert window.result is not None and hand.result is not None
    assert window.result.metrics["target_test"] == hand.result.metrics["target_test"]
    assert window.result.train_rows == hand.result.train_rows


@pytest.mark.parametrize(
    ("strategy", "inputs"), [("full", "kept"), ("full", "refitted"), ("gradient-boosting", "kept")]
)
def test_a_window_is_a_dataset_made_of_its_rows_by_hand(
    strategy: str,
    inputs: str,
    tiny: tuple[Workspace, Dataset],
    card: BackboneCard,
    tmp_path: Path,
) -> None:
    workspace, dataset = tiny
    hand = by_hand(workspace, dataset, WINDOW, tmp_path)
    options = {"rows": "target"} if strategy == "gradient-boosting" else {}
    request = FinetuneRequest(
        dataset.id, card.id, strategy, train=QUICK, options=options, inputs=inputs
    )
    window = run_request(workspace, dataclasses.replace(request, window=Window(WINDOW, N_WINDOWS)))
    other = run_request(workspace, dataclasses.replace(request, dataset=hand.id))
    check_same(workspace, window, other)
    # On its own dataset it is measured on its own test rows, and not on those of the split.
    measured = evaluate_on(workspace, window, find_dataset(workspace, dataset.id))
    assert window.result is not None
    assert measured["target_test"]["rows"] == 240
    assert measured["target_test"]["auc"] == pytest.approx(
        window.result.metrics["target_test"]["auc"], abs=1e-9
    )


def test_a_control_on_both_knows_everything_up_to_its_window(
    tiny: tuple[Workspace, Dataset], card: BackboneCard
) -> None:
    workspace, dataset = tiny
    request = FinetuneRequest(
        dataset.id, card.id, "logistic-regression", train=QUICK, window=Window(3, N_WINDOWS)
    )
    run = run_request(workspace, request)
    sizes = {part.part: part.rows for part in dataset.parts}
    source = sizes["source_train"] + sizes["source_validation"]
    # 24 of the 240 rows of a window validate, and no arm trains on them, now or later.
    assert run.result is not None and run.result.train_rows == source + 3 * 216
    assert run.result.metrics["earlier_windows"]["rows"] == 2 * 24


def test_going_on_equals_finetuning_the_exported_model_by_hand(
    tiny: tuple[Workspace, Dataset], card: BackboneCard, tmp_path: Path
) -> None:
    workspace, dataset = tiny
    request = FinetuneRequest(
        dataset.id, card.id, "depth", 1, train=QUICK, window=Window(1, N_WINDOWS, "", "last")
    )
    first = run_request(workspace, request)
    chained = Window(2, N_WINDOWS, "", "last", first.id)
    second = run_request(workspace, dataclasses.replace(request, window=chained))

    export_backbone(load_model_card(workspace, first), tmp_path / "first.zip")
    exported = import_backbone(workspace, tmp_path / "first.zip", "after window 1").id
    hand = by_hand(workspace, dataset, 2, tmp_path)
    other = run_request(
        workspace,
        dataclasses.replace(
            request, dataset=hand.id, backbone=exported, keep_head=True, window=None
        ),
    )
    ours, theirs = (load_predictions(workspace, run) for run in (second, other))
    for part in ("target_test", "source_test"):
        np.testing.assert_array_equal(ours[f"{part}_score"], theirs[f"{part}_score"])
    # What it is compared with stays the backbone, and not the model of the window before.
    np.testing.assert_array_equal(
        ours["source_test_before"], load_predictions(workspace, first)["source_test_before"]
    )
    assert np.abs(ours["source_test_before"] - theirs["source_test_before"]).max() > 1e-4
    assert second.result is not None and second.result.metrics["earlier_windows"]["rows"] == 24
    found = verify(workspace, second)
    assert found.same and found.weights_same, found.sentence


def test_without_the_model_of_the_window_before_there_is_a_sentence(
    tiny: tuple[Workspace, Dataset], card: BackboneCard
) -> None:
    workspace, dataset = tiny
    window = Window(2, N_WINDOWS, "", "last", "r-gone")
    request = FinetuneRequest(dataset.id, card.id, train=QUICK, window=window)
    with pytest.raises(BadInput, match="r-gone on window 1 was deleted"):
        run_request(workspace, request)


def test_nothing_of_later_windows_is_read(
    tiny: tuple[Workspace, Dataset], card: BackboneCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inputs refitted on a window are the same whatever comes after the window that tests."""
    workspace, dataset = tiny
    request = FinetuneRequest(
        dataset.id, card.id, "full", train=QUICK, inputs="refitted", window=Window(1, N_WINDOWS)
    )
    run = run_request(workspace, request)
    windowed = find_run_dataset(workspace, run)
    later = np.concatenate(cut_windows(workspace, dataset, N_WINDOWS)[2:])
    assert (windowed.row_parts()[later] == -1).all()
    labels = np.load(dataset.folder / "labels.npy")
    labels[later] = 1 - labels[later]
    np.save(dataset.folder / "labels.npy", labels)
    again = run_request(workspace, request)
    first, second = (load_predictions(workspace, one) for one in (run, again))
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name])
