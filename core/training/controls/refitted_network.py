"""The controls "retrain" and "scratch": the backbone's architecture with new weights.

Both have the vocabulary of their own training rows, those of "scratch" being the target's alone.
Encoded by the source's vocabulary, as Thaw did until 0.12, "scratch" is 0.007 AUC worse on the
real rows than it can be.
"""

from pathlib import Path

import torch

from core.freezing.plan import Plan
from core.jobs.reporter import Reporter
from core.jobs.requests import FinetuneRequest
from core.models.backbone import build_network
from core.models.card import BackboneCard
from core.models.registry import ARCHITECTURES
from core.training.controls.fitted_control import ControlRows, FittedControl
from core.training.loop import fit


def fit_refitted_network(
    rows: ControlRows,
    card: BackboneCard,
    plan: Plan,
    request: FinetuneRequest,
    device: torch.device,
    reporter: Reporter,
    checkpoint: Path,
) -> FittedControl:
    """Train the architecture of a backbone from random weights, with the settings of the run.

    Args:
        rows: to train on, and to choose the best epoch by.
        card: of the backbone, whose architecture and settings are taken.
        plan: in which every stage trains.
        request: of the run: head and training settings.
        device: to train on.
        reporter: receives points and progress; says when to stop.
        checkpoint: file to resume from.

    Raises:
        CancelledError: the reporter asked to stop.
        RunError: a loss is not a finite number.
    """
    torch.manual_seed(request.train.seed)
    network = build_network(
        card.architecture, card.settings, rows.field_sizes, request.head, rows.dense
    ).to(device)
    # Some architectures fit statistics of their inputs.
    network.stage_list()[0].fit_preprocessing(rows.train.state, rows.train.labels)
    result = fit(network, plan, rows.train, rows.validation, request.train, reporter, checkpoint)
    title = ARCHITECTURES[card.architecture].title
    learner = f"Thaw, {title} from random weights"
    return FittedControl(network, card.architecture, card.settings, request.head, result, learner)
