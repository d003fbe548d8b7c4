"""The registry of metrics, and the values of one set of rows."""

import copy
import math
import pickle

import numpy as np
import pytest

from core.evaluation.metric_registry import HEADLINE, METRICS, metrics_shown_in, summary_metrics
from core.evaluation.metrics import Metrics, all_names, compute_metrics
from core.evaluation.roc_auc import roc_auc
from core.evaluation.significance import comparison_outcome, is_significant


def test_what_is_computed_is_what_is_stored() -> None:
    rng = np.random.default_rng(0)
    y_score = rng.random(50)
    metrics = compute_metrics((rng.random(50) < y_score).astype(float), y_score, 0.5)
    assert tuple(metrics) == all_names() and len(set(all_names())) == len(all_names())
    assert not any(math.isnan(value) for value in metrics.values())
    assert Metrics.from_stored(metrics.as_dict()) == metrics


def test_names_of_metrics_tell_them_apart_wherever_they_are_shown() -> None:
    for titles in (
        [metric.name for metric in METRICS.values()],
        [metric.row_title for metric in METRICS.values()],
        [metric.summary_rank for metric in summary_metrics().values()],
    ):
        assert len(set(titles)) == len(titles)
    for place in ("arms", "figures", "runs", "card"):
        assert HEADLINE in metrics_shown_in(place)


@pytest.mark.parametrize(
    ("key", "delta", "article"),
    [
        ("auc", "ΔAUC", "an AUC"),
        ("log_loss", "Δ log loss", "a log loss"),
        ("ece", "ΔECE", "an ECE"),
        ("f1", "ΔF1", "an F1"),
        ("pr_auc", "ΔPR-AUC", "a PR-AUC"),
        ("accuracy", "Δ accuracy", "an accuracy"),
    ],
)
def test_names_in_sentences(key: str, delta: str, article: str) -> None:
    assert (METRICS[key].delta_name, METRICS[key].with_article) == (delta, article)


def test_a_missing_metric_is_nan_and_an_unknown_one_an_error() -> None:
    metrics = Metrics.from_stored({"auc": 0.75, "ece": None})
    assert metrics.auc == 0.75 and math.isnan(metrics.ece) and math.isnan(metrics.log_loss)
    assert metrics.as_dict() == {"auc": 0.75, "ece": None} and metrics.get("log_loss") is None
    with pytest.raises(AttributeError, match="There is no metric 'acu'; there are rows, "):
        metrics.acu  # noqa: B018
    with pytest.raises(ValueError, match="metrics by name"):
        Metrics.from_stored([0.75])  # type: ignore[arg-type]


def test_metrics_are_values() -> None:
    first, second = (Metrics.from_stored({"auc": 0.75, "ece": None}) for _ in range(2))
    assert first == second and hash(first) == hash(second), "NaN does not part them"
    assert first != Metrics.from_stored({"auc": 0.75, "ece": 0.1})
    for copied in (copy.deepcopy(first), pickle.loads(pickle.dumps(first))):
        assert copied == first and math.isnan(copied.ece)


def test_roc_auc_counts_pairs() -> None:
    y_true, y_score = np.array([0, 1, 1, 0, 1]), np.array([0.2, 0.2, 0.9, 0.5, 0.4])
    pairs = [
        (y_score[i] > y_score[j]) + 0.5 * (y_score[i] == y_score[j])
        for i in np.flatnonzero(y_true)
        for j in np.flatnonzero(1 - y_true)
    ]
    assert roc_auc(y_true, y_score) == pytest.approx(np.mean(pairs))
    assert math.isnan(roc_auc(np.ones(3), np.arange(3.0)))


def test_the_level_itself_is_not_significant() -> None:
    assert is_significant(0.0499) and not is_significant(0.05) and not is_significant(math.nan)
    outcomes = [comparison_outcome(0.1, 0.01), comparison_outcome(-0.1, 0.01)]
    assert outcomes == ["better", "worse"]
    assert comparison_outcome(0.1, 0.05) == "not distinguishable"
    assert comparison_outcome(math.nan, 0.01) == comparison_outcome(0.1, math.nan)
    assert comparison_outcome(0.1, math.nan) == "not comparable"
