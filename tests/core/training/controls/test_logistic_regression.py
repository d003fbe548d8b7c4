"""The logistic regression is scikit-learn's, as a network."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.preprocessing import OneHotEncoder

from core.training.controls.logistic_regression import (
    INVERSE_PENALTIES,
    _describe,
    design_matrix,
    fit_logistic_regression,
)
from core.training.loop import CancelledError
from core.training.losses import predict
from tests.core.training.controls.helpers import FIELD_SIZES, random_control_rows
from tests.core.training.helpers import ListReporter

ROWS = random_control_rows()


def test_the_matrix_is_that_of_a_one_hot_encoder() -> None:
    ids, numerics = (tensor.numpy() for tensor in ROWS.train.state)
    encoder = OneHotEncoder(categories=[range(size) for size in FIELD_SIZES])
    expected = np.hstack([encoder.fit_transform(ids).toarray(), numerics])
    np.testing.assert_array_equal(design_matrix(ROWS.train, FIELD_SIZES).toarray(), expected)


def test_it_is_the_best_of_the_models_that_scikit_learn_fits() -> None:
    reporter = ListReporter()
    fitted = fit_logistic_regression(ROWS, reporter)
    x, y = design_matrix(ROWS.train, FIELD_SIZES), ROWS.train.labels.numpy()
    x_validation = design_matrix(ROWS.validation, FIELD_SIZES)
    scores = [
        LogisticRegression(C=one, tol=1e-8, max_iter=5000)
        .fit(x, y)
        .predict_proba(x_validation)[:, 1]
        for one in INVERSE_PENALTIES[: fitted.result.epochs_run]
    ]
    losses = [log_loss(ROWS.validation.labels.numpy(), one) for one in scores]
    chosen = fitted.result.best_epoch - 1
    assert chosen == int(np.argmin(losses)) < len(losses)
    np.testing.assert_allclose(predict(fitted.network, ROWS.validation), scores[chosen], atol=1e-4)
    reported = [value for step, name, value in reporter.rows if name == "validation_loss" and step]
    np.testing.assert_allclose(reported, losses, atol=1e-4)
    assert f"C = {INVERSE_PENALTIES[chosen]:g}" in fitted.learner


def test_a_penalty_at_an_end_of_the_grid_is_named_and_is_no_early_end_of_training() -> None:
    last = len(INVERSE_PENALTIES)
    assert _describe(1, 2).endswith("on validation rows, where the strongest penalty was the best")
    assert _describe(last, last).endswith("where the weakest penalty was the best")
    assert _describe(5, 6).endswith("on validation rows")
    assert fit_logistic_regression(ROWS, ListReporter()).result.stopped_early


def test_it_stops_between_two_penalties() -> None:
    with pytest.raises(CancelledError):
        fit_logistic_regression(ROWS, ListReporter(stop_at=1))


def test_the_loss_at_step_0_is_that_of_the_click_rate() -> None:
    rate = ROWS.train.labels.mean()
    known = torch.nn.functional.binary_cross_entropy(
        rate.expand(len(ROWS.validation)), ROWS.validation.labels
    )
    points = {name: value for _, name, value in ROWS.constant_losses()}
    assert points["validation_loss"] == pytest.approx(float(known), abs=1e-6)
