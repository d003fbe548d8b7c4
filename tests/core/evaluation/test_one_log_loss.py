"""One log loss everywhere: training, validation, reports, blends and controls clip alike."""

import re

import numpy as np
import pytest
import torch
from torch import nn

from core.evaluation.metric_functions import PROBABILITY_EPSILON, log_loss, log_loss_per_row
from core.evaluation.metrics import compute_metrics
from core.inference.blend_weights import logits_of
from core.models.network import click_loss
from core.training.losses import CLICK_TASK
from core.workspace import PROJECT

LABELS = np.array([1.0, 0.0, 1.0, 0.0, 1.0])
SCORES = np.array([0.0, 1.0, 0.3, 0.9, 1.0])
"""As float32 probabilities may be: the logits of the first and of the second are beyond 17."""


def by_hand() -> float:
    kept = [min(max(score, 1e-7), 1 - 1e-7) for score in SCORES]
    terms = [
        np.log(score) if label else np.log(1 - score)
        for label, score in zip(LABELS, kept, strict=True)
    ]
    return float(-np.mean(terms))


def test_validation_report_and_comparison_give_the_same_log_loss(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Rows:
        labels = torch.from_numpy(LABELS)

    monkeypatch.setattr("core.training.losses.predict", lambda network, rows: SCORES)
    validated, _ = CLICK_TASK.validate(None, Rows())  # type: ignore[arg-type]
    reported = compute_metrics(LABELS, SCORES, 0.5).log_loss
    compared = float(log_loss_per_row(LABELS, SCORES).mean())
    assert PROBABILITY_EPSILON == 1e-7
    assert [validated, reported, compared] == pytest.approx([by_hand()] * 3, rel=1e-9)


def test_training_minimises_the_same_loss_where_no_probability_is_clipped() -> None:
    logits = torch.tensor([[-15.0], [3.0], [0.2], [15.0], [-1.0]], dtype=torch.float64)
    probabilities = torch.sigmoid(logits[:, 0])
    trained = click_loss(logits, torch.from_numpy(LABELS))
    assert float(trained) == pytest.approx(log_loss(LABELS, probabilities.numpy()), rel=1e-6)
    assert float(trained) == pytest.approx(
        float(nn.functional.binary_cross_entropy(probabilities, torch.from_numpy(LABELS)))
    )


def test_blends_clip_by_the_same_distance() -> None:
    edge = np.log(PROBABILITY_EPSILON) - np.log1p(-PROBABILITY_EPSILON)
    np.testing.assert_allclose(logits_of(np.array([0.0, 1.0])), [edge, -edge])


def test_no_other_module_clips_probabilities_by_a_number_of_its_own() -> None:
    clips = re.compile(r"clip\([^)]*(1e-\d+|finfo)|clamp\([^)]*1e-\d+|\beps(ilon)?\s*=\s*1e-\d+")
    found = [
        f"{file.relative_to(PROJECT)}: {line.strip()}"
        for folder in ("core", "thaw", "pages")
        for file in sorted((PROJECT / folder).rglob("*.py"))
        for line in file.read_text(encoding="utf-8").splitlines()
        if clips.search(line)
    ]
    # A quantile of the normal distribution in the simulator, which no loss is computed from.
    assert all("ndtri" in line for line in found) and len(found) == 1
