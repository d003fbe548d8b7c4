"""Curves, counts and thresholds compared with scikit-learn and brute force."""

import numpy as np
import pytest
from sklearn import calibration as sk_calibration
from sklearn import metrics as sk_metrics

from core.evaluation.curves import (
    MAX_POINTS,
    calibration_curve,
    confusion_matrix,
    cumulative_gains,
    precision_recall_curve,
    roc_curve,
    threshold_table,
)
from core.evaluation.multiplicity import holm_adjust
from core.evaluation.thresholds import best_f1_threshold


def data(seed: int = 0, rows: int = 5000, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    scores = generator.beta(2, 5, rows).astype(np.float32)
    labels = (generator.random(rows) < scores).astype(np.float32)
    return labels, np.round(scores, 2) if ties else scores


@pytest.mark.parametrize("ties", [False, True])
def test_every_threshold_equals_scikit_learn(ties: bool) -> None:
    labels, scores = data(1, 800, ties)
    table = threshold_table(labels, scores)
    for threshold in [0.0, 1.0, -1.0, 2.0, *scores[:30].astype(float), *np.linspace(0, 1, 41)]:
        tn, fp, fn, tp = sk_metrics.confusion_matrix(
            labels, scores.astype(float) >= threshold, labels=[0, 1]
        ).ravel()
        for got in (table.confusion_at(threshold), confusion_matrix(labels, scores, threshold)):
            assert (got.tn, got.fp, got.fn, got.tp) == (tn, fp, fn, tp)


def test_roc_and_precision_recall_lie_on_scikit_learns() -> None:
    labels, scores = data(2)
    table = threshold_table(labels, scores)
    curve = roc_curve(table)
    fpr, tpr, _ = sk_metrics.roc_curve(labels, scores, drop_intermediate=False)
    assert (
        len(curve.x) <= MAX_POINTS
        and (curve.x[0], curve.y[0]) == (0, 0)
        and (curve.x[-1], curve.y[-1]) == (1, 1)
    )
    known = set(zip(fpr.round(12), tpr.round(12), strict=True))
    assert all(point in known for point in zip(curve.x.round(12), curve.y.round(12), strict=True))
    assert np.trapezoid(curve.y, curve.x) == pytest.approx(
        sk_metrics.roc_auc_score(labels, scores), abs=1e-3
    )
    curve = precision_recall_curve(table)
    precision, recall, _ = sk_metrics.precision_recall_curve(labels, scores)
    known = set(zip(recall.round(12), precision.round(12), strict=True))
    assert all(point in known for point in zip(curve.x.round(12), curve.y.round(12), strict=True))
    assert curve.x[-1] == 1


def test_points_of_a_curve_know_their_threshold() -> None:
    labels, scores = data(3, 300)
    table = threshold_table(labels, scores)
    curve = roc_curve(table)
    for x, y, threshold in list(zip(curve.x, curve.y, curve.threshold, strict=True))[1::37]:
        at = table.confusion_at(float(threshold))
        assert (at.false_positive_rate, at.recall) == pytest.approx((x, y))


def test_gains_count_clicks_among_the_best_rows() -> None:
    labels, scores = data(4, 300)
    curve = cumulative_gains(threshold_table(labels, scores))
    ordered = labels[np.argsort(-scores)]
    for x, y in list(zip(curve.x, curve.y, strict=True))[::41]:
        assert y == pytest.approx(ordered[: round(x * 300)].sum() / labels.sum())


def test_calibration_equals_scikit_learns_quantile_bins() -> None:
    labels, scores = data(5, 1500)
    bins = calibration_curve(labels, scores, 15)
    actual, predicted = sk_calibration.calibration_curve(
        labels, scores, n_bins=15, strategy="quantile"
    )
    assert bins.rows.tolist() == [100] * 15
    np.testing.assert_allclose(bins.actual, actual, atol=0.011)
    np.testing.assert_allclose(bins.predicted, predicted, atol=2e-3)


def test_one_class_and_no_rows_give_empty_curves() -> None:
    table = threshold_table(np.zeros(5), np.linspace(0, 1, 5))
    assert (
        len(roc_curve(table).x)
        == len(precision_recall_curve(table).x)
        == len(cumulative_gains(table).x)
        == 0
    )
    empty = threshold_table(np.zeros(0), np.zeros(0))
    assert (
        len(roc_curve(empty).x) == 0
        and empty.confusion_at(0.5).accuracy != empty.confusion_at(0.5).accuracy
    )
    assert len(calibration_curve(np.zeros(0), np.zeros(0)).rows) == 0


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("ties", [False, True])
def test_best_threshold_is_the_best_of_all(seed: int, ties: bool) -> None:
    labels, scores = data(seed, 120, ties)
    best = best_f1_threshold(labels, scores)
    values = {float(score): sk_metrics.f1_score(labels, scores >= score) for score in scores}
    assert values[best] == pytest.approx(max(values.values()))
    assert best_f1_threshold(np.zeros(4), np.arange(4.0)) == 0.5


def test_holm_on_a_worked_example() -> None:
    """p = .01, .04, .03, .005 of four: 4 x .005, 3 x .01, 2 x .03, then .06 again because it may
    not fall."""
    np.testing.assert_allclose(holm_adjust([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    assert holm_adjust([0.9, 0.8]).tolist() == [1, 1] and len(holm_adjust([])) == 0


def test_the_histogram_of_scores_is_numpys() -> None:
    generator = np.random.default_rng(3)
    scores = np.concatenate([generator.random(500), [0.0, 1.0, 1.0, 0.5, 0.02], np.full(7, 0.98)])
    labels = (generator.random(len(scores)) < 0.4).astype(float)
    expected = np.histogram(scores, np.linspace(0, 1, 51))[0] / len(scores)
    np.testing.assert_allclose(threshold_table(labels, scores).histogram(50), expected)
