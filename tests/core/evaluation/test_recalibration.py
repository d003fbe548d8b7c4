"""Recalibration maps against SciPy and scikit-learn, and the choice between them by simulation."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar, root_scalar
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from core.errors import BadInput
from core.evaluation.recalibration import (
    METHODS,
    MIN_BIN_ROWS,
    RecalibrationMap,
    fit_map,
    pool_adjacent_violators,
    recalibrate,
)
from core.files.typed_json import from_json, to_json


def rows(
    n: int, seed: int = 0, slope: float = 1.3, shift: float = -0.1
) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and scores whose logit is `slope` times the true one plus `shift`."""
    generator = np.random.default_rng(seed)
    true = generator.normal(-1.3, 1.2, n)
    labels = (generator.random(n) < expit(true)).astype(float)
    return labels, expit(slope * true + shift).astype(np.float32)


def _isotonic(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    places = np.arange(len(values))
    return np.asarray(
        IsotonicRegression().fit(places, values, sample_weight=weights).predict(places)
    )


def test_temperature_is_the_root_of_the_gradient_and_the_minimum_of_the_loss() -> None:
    labels, scores = rows(3000)
    logits = logit(scores.astype(np.float64))
    found = fit_map("temperature", labels, scores)
    assert found is not None
    gradient = root_scalar(
        lambda slope: np.mean((expit(slope * logits) - labels) * logits), bracket=(0.01, 10)
    )
    assert found.slope == pytest.approx(gradient.root, abs=1e-8)
    lowest = minimize_scalar(lambda slope: log_loss(labels, expit(slope * logits)))
    assert found.slope == pytest.approx(lowest.x, abs=1e-5)


def test_platt_is_the_logistic_regression_on_the_logit() -> None:
    labels, scores = rows(3000)
    logits = logit(scores.astype(np.float64))[:, None]
    peer = LogisticRegression(C=1e12, tol=1e-10, max_iter=1000).fit(logits, labels)
    found = fit_map("platt", labels, scores)
    assert found is not None
    assert found.slope == pytest.approx(peer.coef_[0, 0], abs=1e-5)
    assert found.intercept == pytest.approx(peer.intercept_[0], abs=1e-5)
    np.testing.assert_allclose(found.apply(scores), peer.predict_proba(logits)[:, 1], atol=1e-6)


def test_pooling_is_that_of_scikit_learn() -> None:
    generator = np.random.default_rng(3)
    for size in (1, 2, 7, 60):
        values, weights = generator.normal(size=size), generator.uniform(0.5, 3, size)
        peer = _isotonic(values, weights)
        blocks = pool_adjacent_violators(values, weights)
        found = np.concatenate([np.full(items, value) for value, items in blocks])
        np.testing.assert_allclose(found, peer, atol=1e-12)


def test_isotonic_is_that_of_scikit_learn_on_bins_and_linear_between_block_centres() -> None:
    labels, scores = rows(3000)
    found = fit_map("isotonic", labels, scores)
    assert found is not None
    order = np.argsort(scores, kind="stable")
    bins = np.array_split(order, 3000 // MIN_BIN_ROWS)
    rates = [(labels[one].sum() + labels.mean()) / (len(one) + 1) for one in bins]
    peer = _isotonic(np.array(rates), np.array([len(one) + 1 for one in bins]))
    assert len(np.unique(peer)) == len(found.knots) > 5
    centres = [
        scores[np.concatenate([b for b, value in zip(bins, peer, strict=True) if value == level])]
        .astype(np.float64)
        .mean()
        for level in np.unique(peer)
    ]
    np.testing.assert_allclose(found.knots, centres, atol=1e-9)
    np.testing.assert_allclose(found.values, np.unique(peer), atol=1e-12)
    np.testing.assert_allclose(
        found.apply(scores), np.interp(scores, centres, np.unique(peer)), atol=1e-6
    )


def test_isotonic_predicts_neither_0_nor_1_and_keeps_equal_scores_together() -> None:
    labels = np.repeat([0.0, 1.0], 200)
    found = fit_map("isotonic", labels, np.linspace(0, 1, 400))
    assert found is not None and 0 < found.values[0] < found.values[-1] < 1
    # Four distinct scores give at most four knots.
    tied, tied_labels = np.repeat([0.1, 0.2, 0.3, 0.4], 100), np.tile([0.0, 1.0, 0.0, 0.0], 100)
    few = fit_map("isotonic", tied_labels, tied)
    assert few is None or set(few.knots) <= {0.1, 0.2, 0.3, 0.4} or len(few.knots) < 4


@pytest.mark.parametrize("method", METHODS)
def test_maps_keep_the_order_and_the_auc_up_to_ties(method: str) -> None:
    labels, scores = rows(2000)
    found = fit_map(method, labels, scores)
    assert found is not None
    fresh_labels, fresh = rows(5000, 1)
    after = found.apply(fresh)
    assert after.dtype == np.float32 and (np.diff(after[np.argsort(fresh)]) >= 0).all()
    change = roc_auc_score(fresh_labels, after) - roc_auc_score(fresh_labels, fresh)
    assert abs(change) < (2e-3 if method == "isotonic" else 1e-6)
    threshold = float(fresh[7])
    same = (after >= found.apply_to(threshold)) == (fresh >= threshold)
    assert same.mean() > (0.95 if method == "isotonic" else 0.9999)


def test_rows_that_determine_no_map_have_none() -> None:
    labels = np.repeat([0.0, 1.0], 100)
    separated = np.where(labels == 1, 0.9, 0.1) + np.linspace(0, 0.05, 200)
    for method in ("temperature", "platt"):
        assert fit_map(method, labels, separated) is None
        # A map that turned the order round would be no calibration.
        turned = 1 - rows(500)[1]
        assert fit_map(method, rows(500)[0], turned) is None
    assert fit_map("isotonic", labels[:60], separated[:60]) is None
    few = recalibrate(np.array([0.0, 1.0] * 9), np.linspace(0.1, 0.9, 18))
    assert (few.chosen, len(few.fits)) == ("none", 1)
    with pytest.raises(BadInput, match="no validation rows"):
        recalibrate(np.zeros(0), np.zeros(0))


def test_the_loss_of_a_method_is_that_of_rows_it_was_not_fitted_on() -> None:
    labels, scores = rows(900, 4, slope=1.0, shift=0.0)
    found = recalibrate(labels, scores)
    isotonic, none = found.find("isotonic"), found.find("none")
    assert isotonic is not None and none is not None
    assert none.loss == pytest.approx(log_loss(labels, scores.astype(float)), abs=1e-6)
    on_its_own = log_loss(labels, isotonic.map.apply(scores).astype(float))
    # Its own rows flatter the isotonic map: there it beats what cross-validation finds worse.
    assert on_its_own < isotonic.loss - 0.005


def test_the_choice_leaves_calibrated_models_alone_and_finds_what_is_wrong() -> None:
    chosen: dict[str, list[str]] = {"calibrated": [], "steep": [], "shifted": []}
    for seed in range(15):
        chosen["calibrated"].append(recalibrate(*rows(1500, seed, 1.0, 0.0)).chosen)
        chosen["steep"].append(recalibrate(*rows(3000, seed, 1.5, 0.0)).chosen)
        chosen["shifted"].append(recalibrate(*rows(3000, seed, 1.0, -0.4)).chosen)
    assert chosen["calibrated"].count("none") >= 11
    assert chosen["steep"].count("temperature") >= 11 and "none" not in chosen["steep"]
    assert chosen["shifted"].count("platt") >= 10 and "none" not in chosen["shifted"]
    assert (chosen["steep"] + chosen["calibrated"]).count("isotonic") <= 3


def test_a_recalibration_is_stored_as_json_and_a_broken_one_is_refused() -> None:
    found = recalibrate(*rows(1000))
    assert from_json(type(found), to_json(found), exact=False) == found
    with pytest.raises(ValueError, match="no map"):
        RecalibrationMap("isotonic", knots=(0.2, 0.1), values=(0.1, 0.2))
    with pytest.raises(ValueError, match="no map"):
        RecalibrationMap("magic")
