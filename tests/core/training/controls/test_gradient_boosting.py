"""Gradient boosting is LightGBM's, as a network."""

import dataclasses

import numpy as np
import pytest

from core.training.controls.gradient_boosting import (
    MAX_TREES,
    PATIENCE,
    booster_parameters,
    fit_gradient_boosting,
    floor_to_float32,
)
from core.training.controls.lightgbm_library import load_lightgbm
from core.training.loop import CancelledError
from core.training.losses import predict
from tests.core.training.controls.helpers import random_control_rows
from tests.core.training.helpers import ListReporter

ROWS = random_control_rows(train=600)


def test_it_scores_as_lightgbm_does() -> None:
    lightgbm = load_lightgbm()
    reporter = ListReporter()
    fitted = fit_gradient_boosting(ROWS, 3, reporter)
    x, y = ROWS.train.state[1].numpy(), ROWS.train.labels.numpy()
    train = lightgbm.Dataset(x, y)
    validation = train.create_valid(
        ROWS.validation.state[1].numpy(), ROWS.validation.labels.numpy()
    )
    booster = lightgbm.train(
        booster_parameters(len(y), 3),
        train,
        MAX_TREES,
        valid_sets=[validation],
        callbacks=[lightgbm.early_stopping(PATIENCE, first_metric_only=True, verbose=False)],
    )
    assert fitted.result.best_epoch == booster.best_iteration < fitted.result.epochs_run
    expected = booster.predict(ROWS.validation.state[1].numpy())
    assert np.ptp(expected) > 0.2
    np.testing.assert_allclose(predict(fitted.network, ROWS.validation), expected, atol=1e-6)
    losses = [value for step, name, value in reporter.rows if name == "validation_loss" and step]
    assert int(np.argmin(losses)) + 1 == booster.best_iteration
    assert f"{booster.best_iteration} trees" in fitted.learner


def test_a_row_on_a_threshold_goes_the_way_it_went_in_training() -> None:
    """Numerics with few values: every threshold lies between two of them, often next to one."""
    numerics = (ROWS.train.state[1] * 3).round() / 3
    train = dataclasses.replace(ROWS.train, state=(ROWS.train.state[0], numerics))
    rows = dataclasses.replace(ROWS, train=train)
    lightgbm = load_lightgbm()
    fitted = fit_gradient_boosting(rows, 0, ListReporter())
    booster = lightgbm.train(
        booster_parameters(len(train), 0),
        lightgbm.Dataset(numerics.numpy(), train.labels.numpy()),
        fitted.result.best_epoch,
    )
    np.testing.assert_allclose(
        predict(fitted.network, train), booster.predict(numerics.numpy()), atol=1e-6
    )
    values = np.array([0.1, -0.1, 1 / 3, 0.5, 1e-300])
    assert (floor_to_float32(values) <= values).all()
    assert (np.nextafter(floor_to_float32(values), np.float32(np.inf)) > values).all()


def test_the_seed_decides_it_and_a_cancelled_run_stops() -> None:
    first, again, other = (
        predict(fit_gradient_boosting(ROWS, seed, ListReporter()).network, ROWS.validation)
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    with pytest.raises(CancelledError):
        fit_gradient_boosting(ROWS, 0, ListReporter(stop_at=5))
