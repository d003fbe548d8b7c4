"""Rows of a control that hold a single label."""

import dataclasses
import math

import pytest
import torch

from core.errors import BadInput
from core.training.batches import RowTensors
from core.training.controls import gradient_boosting
from core.training.controls.fitted_control import ControlRows
from core.training.controls.gradient_boosting import fit_gradient_boosting
from core.training.controls.logistic_regression import fit_logistic_regression
from tests.core.training.controls.helpers import random_control_rows
from tests.core.training.helpers import ListReporter

ROWS = random_control_rows(train=200, validation=40)


def with_labels(rows: RowTensors, label: float) -> RowTensors:
    return RowTensors(rows.state, torch.full_like(rows.labels, label))


def validation_aucs(rows: ControlRows) -> list[float]:
    """Points of the AUC of both controls that are no networks."""
    reporter = ListReporter()
    fit_gradient_boosting(rows, 0, reporter)
    fit_logistic_regression(rows, reporter)
    return [value for _, name, value in reporter.rows if name == "validation_auc"]


def test_validation_rows_of_a_single_label_have_a_loss_and_no_auc(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Their loss falls with every tree, so early stopping never comes.
    monkeypatch.setattr(gradient_boosting, "MAX_TREES", 3)
    assert not any(math.isnan(auc) for auc in validation_aucs(ROWS))
    single = dataclasses.replace(ROWS, validation=with_labels(ROWS.validation, 0))
    aucs = validation_aucs(single)
    assert len(aucs) > 5 and all(math.isnan(auc) for auc in aucs)


@pytest.mark.parametrize("label", [0, 1])
def test_training_rows_of_a_single_label_are_refused(label: int) -> None:
    ROWS.require_both_classes()
    single = dataclasses.replace(ROWS, train=with_labels(ROWS.train, label))
    with pytest.raises(BadInput, match=f"All 200 training rows .* have the label {label}"):
        single.require_both_classes()
