"""ECE floor against brute force; the interval of predicted over actual clicks from both sides."""

import numpy as np
import pytest
from scipy.special import expit

from core.evaluation.calibration import (
    CalibrationSummary,
    calibration_of_metrics,
    summarise_calibration,
)
from core.evaluation.calibration_effect import measure_effect
from core.evaluation.calibration_floor import calibration_floor, predicted_over_actual_bounds
from core.evaluation.metric_functions import calibration_error, log_loss
from core.evaluation.metrics import compute_metrics
from core.evaluation.recalibration import RecalibrationMap


@pytest.mark.parametrize(("rows", "shift"), [(200, -1.0), (3000, -1.0), (3000, -6.0), (3000, 6.0)])
def test_the_floor_is_what_labels_drawn_from_the_scores_give(rows: int, shift: float) -> None:
    generator = np.random.default_rng(5)
    scores = expit(generator.normal(shift, 1, rows))
    drawn = [
        calibration_error((generator.random(rows) < scores).astype(float), scores)
        for _ in range(800)
    ]
    floor, high = calibration_floor(scores)
    assert floor == pytest.approx(np.mean(drawn), rel=0.03)
    assert high == pytest.approx(np.quantile(drawn, 0.95), rel=0.05)
    assert calibration_floor(scores) == (floor, high)
    assert np.isnan(calibration_floor(np.zeros(0))).all()


def test_an_ece_above_the_floor_is_5_percent_by_chance_and_sure_of_a_bad_model() -> None:
    generator = np.random.default_rng(6)
    above, above_of_bad = 0, 0
    for _ in range(200):
        logits = generator.normal(-1, 1.2, 1500)
        labels = (generator.random(1500) < expit(logits)).astype(float)
        for bad, slope in enumerate((1.0, 1.6)):
            scores = expit(slope * logits)
            _, high = calibration_floor(scores, draws=300)
            exceeds = calibration_error(labels, scores) > high
            above += exceeds and not bad
            above_of_bad += exceeds and bad
    assert 2 <= above <= 21
    assert above_of_bad > 185


@pytest.mark.parametrize(("rows", "shift"), [(300, -1.0), (2000, -3.5)])
def test_the_interval_of_the_ratio_covers_the_truth_95_percent(rows: int, shift: float) -> None:
    generator = np.random.default_rng(7)
    many = generator.normal(shift, 1, 1_000_000)
    truth = float(expit(1.2 * many - 0.1).mean() / expit(many).mean())
    covered = excludes_1 = 0
    for _ in range(800):
        logits = generator.normal(shift, 1, rows)
        labels = (generator.random(rows) < expit(logits)).astype(float)
        low, high = predicted_over_actual_bounds(labels, expit(1.2 * logits - 0.1))
        covered += low <= truth <= high
        low, high = predicted_over_actual_bounds(labels, expit(logits))
        excludes_1 += low > 1 or high < 1
    # Neither too narrow nor too wide: 95 % within 3.5 standard errors of 800 samples.
    assert 0.923 < covered / 800 < 0.977
    assert 0.023 < excludes_1 / 800 < 0.077


def test_the_interval_has_power_and_needs_two_clicks() -> None:
    generator = np.random.default_rng(8)
    logits = generator.normal(-1, 1, 20000)
    labels = (generator.random(20000) < expit(logits)).astype(float)
    few = summarise_calibration(labels, 0.93 * expit(logits))
    assert few.off_ratio and few.is_miscalibrated and "too few" in few.sentence
    assert "too many" in summarise_calibration(labels, 1.08 * expit(logits)).ratio_sentence
    assert summarise_calibration(labels, expit(logits)).ratio_sentence == ""
    for labels in (np.zeros(3), np.array([0.0, 1.0, 0.0])):
        assert np.isnan(predicted_over_actual_bounds(labels, np.full(3, 0.3))).all()


def test_stored_metrics_tell_the_same_and_old_ones_what_they_know() -> None:
    generator = np.random.default_rng(9)
    scores = expit(generator.normal(-1, 1, 900))
    labels = (generator.random(900) < scores).astype(float)
    found = calibration_of_metrics(compute_metrics(labels, scores, 0.5))
    assert found == summarise_calibration(labels, scores)
    assert found.ece_sentence.endswith("in 95 % of samples).")
    old = calibration_of_metrics({"rows": 900, "ece": 0.02, "predicted_over_actual": 0.9})
    assert old.sentence == "ECE is 0.0200." and not old.is_miscalibrated
    assert calibration_of_metrics(None).sentence == ""
    assert isinstance(found, CalibrationSummary)


def test_the_effect_of_a_map_is_paired_over_rows() -> None:
    generator = np.random.default_rng(10)
    logits = generator.normal(-1, 1.2, 4000)
    labels = (generator.random(4000) < expit(logits)).astype(float)
    scores = expit(1.5 * logits).astype(np.float32)
    effect = measure_effect(labels, scores, RecalibrationMap("temperature", slope=1 / 1.5))
    calibrated = expit(logits)
    rows = -(labels * np.log(calibrated) + (1 - labels) * np.log1p(-calibrated))
    wanted = rows.mean() - log_loss(labels, scores)
    assert effect.change.value == pytest.approx(wanted, abs=1e-6)
    assert effect.change.low < wanted < effect.change.high < 0
    assert effect.after.ece < effect.before.ece and effect.auc_after == effect.auc_before
    assert "lowers the log loss" in effect.sentence and "order of the rows" in effect.auc_sentence
    worse = measure_effect(labels, calibrated, RecalibrationMap("temperature", slope=1.6))
    assert "raises the log loss" in worse.sentence
    same = measure_effect(labels, calibrated, RecalibrationMap())
    assert same.change.value == pytest.approx(0, abs=1e-8)
