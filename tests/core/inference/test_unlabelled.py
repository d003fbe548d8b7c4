"""Rows without labels: jobs that read no labels train on them, all others say why not."""

from pathlib import Path

import pytest
import torch

from core.data.datasets import Dataset
from core.data.prepare import prepare
from core.data.reading.ingest import ingest
from core.data.split import SplitSpec
from core.errors import BadInput
from core.inference.evaluate_run import evaluate_on
from core.jobs.requests import FinetuneRequest, PretrainRequest
from core.models.backbone import load_backbone
from core.models.card import load_card
from core.workspace import Workspace, open_workspace
from tests.core.data.helpers import rows, text
from tests.core.training.helpers import QUICK, run_request

SMALL = {"embedding": 4, "widths": [8]}


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Dataset]:
    """A workspace with one dataset of 1,000 rows without labels."""
    workspace = open_workspace(tmp_path_factory.mktemp("unlabelled"))
    path: Path = workspace.uploads / "rows.tsv"
    path.write_bytes(text(rows(1000, labelled=False)))
    return workspace, prepare(
        workspace, ingest(workspace, path, "bare"), SplitSpec(), "bare", min_count=5
    )


@pytest.mark.parametrize("objective", ["rfd", "mfp", "none"])
def test_what_reads_no_labels_makes_a_backbone(
    objective: str, unlabelled: tuple[Workspace, Dataset]
) -> None:
    workspace, dataset = unlabelled
    run = run_request(
        workspace, PretrainRequest(dataset.id, "dnn", objective, QUICK, SMALL, objective)
    )
    assert run.result is not None and run.result.metrics == {} and run.result.threshold is None
    card = load_card(workspace.backbones / run.result.backbone)
    assert (card.objective, card.trained_on["rows"], card.scores_clicks) == (objective, 950, False)
    assert {stage.origin for stage in card.stages} == {
        "random" if objective == "none" else objective
    }
    assert all(torch.isfinite(tensor).all() for tensor in load_backbone(card).state_dict().values())
    assert all(number == number for number in card.metrics.values())


def test_what_reads_labels_says_why_not(unlabelled: tuple[Workspace, Dataset]) -> None:
    workspace, dataset = unlabelled
    sentence = (
        r"'bare' has no labels \(39 columns\): only pretraining by RFD or MFP, or a start without"
        r" training"
    )
    run = run_request(workspace, PretrainRequest(dataset.id, "dnn", "start", QUICK, SMALL, "none"))
    with pytest.raises(BadInput, match=sentence):
        run_request(workspace, PretrainRequest(dataset.id, "dnn", "clicks", QUICK, SMALL))
    with pytest.raises(BadInput, match=sentence):
        run_request(workspace, FinetuneRequest(dataset.id, "simulated-dnn", train=QUICK))
    with pytest.raises(BadInput, match=sentence):
        evaluate_on(workspace, run, dataset)
