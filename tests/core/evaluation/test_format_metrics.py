"""Metrics as text: a missing one is explained, and no number is shown that does not exist."""

import doctest
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.evaluation import format_metrics as words
from core.evaluation.curves import (
    calibration_curve,
    cumulative_gains,
    precision_recall_curve,
    roc_curve,
    threshold_table,
)
from core.evaluation.decision_cost import DecisionCosts, cheapest_threshold
from core.evaluation.metric_functions import log_loss_per_row
from core.evaluation.metrics import compute_metrics
from core.evaluation.multiplicity import holm_adjust
from core.evaluation.paired_comparison import compare_auc, compare_log_loss
from core.evaluation.roc_auc import delong_test
from core.evaluation.slices import slice_differences, slice_metrics, slices_by_value
from core.evaluation.thresholds import best_f1_threshold
from core.evaluation.verdict_sentences import summarise_verdicts
from core.evaluation.verdicts import ArmScores, compare_arms
from tests.missing.examples import Example, arrays, examples

NAN = float("nan")
NO_NUMBER = re.compile(r"\b(nan|None|inf)\b", re.IGNORECASE)
quick = settings(
    deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)


def test_the_examples_in_the_docstrings() -> None:
    found = doctest.testmod(words)
    assert found.attempted >= 8 and not found.failed


@pytest.mark.parametrize(
    ("labels", "scores", "sentence"),
    [
        ([], [], "no AUC: no rows"),
        ([1], [0.5], "no AUC: the only row has the label 1"),
        ([0] * 1200, [0.5] * 1200, "no AUC: all 1,200 rows have the label 0"),
        ([1, 1, 1], [0.1, 0.2, 0.3], "no AUC: all 3 rows have the label 1"),
        ([0, 1], [0.2, 0.1], "AUC 0.0000 (no interval: one click in 2 rows)"),
        ([1] + [0] * 29, [0.5, 0.6] + [0.1] * 28, "AUC 0.9655 (no interval: one click in 30 rows)"),
        ([0, 1, 1], [0.2, 0.1, 0.3], "AUC 0.5000 (no interval: one row without a click in 3 rows)"),
    ],
)
def test_what_is_missing_is_named_with_its_reason(
    labels: list[int], scores: list[float], sentence: str
) -> None:
    metrics = compute_metrics(np.array(labels, dtype=float), np.array(scores), 0.5).as_dict()
    assert words.format_auc(metrics) == sentence == words.format_interval(metrics)
    assert words.format_metrics(metrics).startswith("no rows" if not labels else sentence)


@pytest.mark.parametrize(
    "gone", [{}, None, {"auc": None}, {"auc": NAN}, {"auc": float("inf")}, {"auc": "0.9"}]
)
def test_missing_is_missing_in_whatever_form(gone: dict[str, Any] | None) -> None:
    assert words.format_auc(gone) == "no AUC" and words.metric_or_none(gone, "auc") is None
    assert np.isnan(words.metric_value(gone, "auc"))


def test_metrics_of_older_versions_that_lack_some_keys() -> None:
    old = {"auc": 0.75, "log_loss": NAN, "rows": 40}
    assert words.format_auc(old) == "AUC 0.7500 (no interval: fewer than two rows of a class)"
    assert (
        words.format_metrics(old)
        == "AUC 0.7500 (no interval: fewer than two rows of a class), log loss –, F1 –, precision"
        " –, recall –, accuracy – (always no: –), 40 rows"
    )
    assert words.missing_sentence({"auc": 0.75, "auc_low": 0.7, "auc_high": 0.8}, "test rows") == ""


@quick
@given(examples())
def test_a_metric_exists_exactly_where_its_rows_define_it(drawn: Example) -> None:
    labels, scores, _ = arrays(drawn)
    metrics = compute_metrics(labels, scores, 0.5).as_dict()
    clicks = sum(drawn.labels) > 0
    ratio_interval = sum(drawn.labels) > 1 and scores.sum() > 0
    defined = {
        "auc": drawn.has_auc,
        "auc_low": drawn.has_interval,
        "auc_high": drawn.has_interval,
        "pr_auc": drawn.has_auc,
        "normalised_entropy": drawn.has_auc,
        "predicted_over_actual": clicks,
        "predicted_over_actual_low": ratio_interval,
        "predicted_over_actual_high": ratio_interval,
        "lift_at_10": clicks,
    }
    for name, value in metrics.items():
        assert (value is not None) == defined.get(name, True), name
    text = " ".join([words.format_metrics(metrics), words.format_interval(metrics)])
    assert not NO_NUMBER.search(text)
    assert ("no AUC" in text) == (not drawn.has_auc)
    assert ("no interval" in text) == (drawn.has_auc and not drawn.has_interval)


@quick
@pytest.mark.filterwarnings("error")
@given(examples(), st.integers(1, 2))
def test_comparisons_say_that_nothing_is_comparable_or_what_is(drawn: Example, seeds: int) -> None:
    labels, after, before = arrays(drawn)
    settings_ = {
        "": [
            ArmScores("full", 0.5, np.stack([before] * seeds), tuple(range(seeds))),
            ArmScores("frozen", 0.4, np.stack([after] * seeds), tuple(range(seeds))),
            ArmScores("unknown", NAN, np.stack([after] * seeds), tuple(range(seeds))),
        ]
    }
    verdicts = compare_arms(labels, settings_, "full")
    said = " ".join(summarise_verdicts(verdicts, settings_, "full"))
    assert not NO_NUMBER.search(said)
    for one in verdicts:
        known = one.auc.p == one.auc.p
        assert (one.outcome_in("auc") == "not comparable") == (not known)
        assert not known or drawn.has_interval
        assert (one.outcome == "not comparable") == (not known and one.log_loss.p != one.log_loss.p)
        assert not NO_NUMBER.search(one.outcome_with_rows)
    if not drawn.has_interval:
        assert words.reason_from_labels(labels) in said
        assert not re.search(r"distinguishable from [^.;:,]* in AUC", said)
    loss = compare_log_loss(
        labels.astype(float), after[None].astype(float), before[None].astype(float)
    )
    differences = log_loss_per_row(labels, after) - log_loss_per_row(labels, before)
    # A difference that is the same for every row has no variance, unless there is none.
    known = drawn.rows > 1 and (len({*differences}) > 1 or not differences.any())
    assert (loss.p == loss.p) == known


@quick
@pytest.mark.filterwarnings("error")
@given(examples())
def test_curves_slices_and_thresholds_take_every_sort_of_rows(drawn: Example) -> None:
    labels, after, before = arrays(drawn)
    table = threshold_table(labels, after)
    assert len(roc_curve(table).x) == 0 or drawn.has_auc
    assert (
        (len(cumulative_gains(table).x) > 0)
        == (len(precision_recall_curve(table).x) > 0)
        == (sum(drawn.labels) > 0)
    )
    assert calibration_curve(labels, after).rows.sum() == drawn.rows
    for threshold in (
        best_f1_threshold(labels, after),
        cheapest_threshold(labels, after, DecisionCosts(1, 4)),
    ):
        assert 0 <= threshold <= np.nextafter(1, 2)
    slices = slices_by_value(["a"] * drawn.rows)
    (one,) = slice_metrics(labels, after[None], slices)
    assert (one.auc.low == one.auc.low) == drawn.has_interval
    differences = slice_differences(
        labels, {"after": after[None], "before": before[None]}, "before", slices
    )
    assert all(found.adjusted_p == found.adjusted_p for found in differences)


def test_a_difference_without_variance_proves_nothing() -> None:
    # Four rows, separated completely by one scoring and the wrong way round by the other: DeLong's
    # variance is 0.
    labels, right = np.array([0.0, 0, 1, 1]), np.array([0.1, 0.2, 0.8, 0.9])
    for found in (
        delong_test(labels, right, 1 - right),
        compare_auc(labels, right[None], (1 - right)[None]),
    ):
        assert found.delta == 1 and np.isnan([found.low, found.high, found.p]).all()
    assert delong_test(labels, right, right).p == 1


@pytest.mark.parametrize("rows", [2, 3, 5])
def test_log_losses_that_differ_by_the_same_on_every_row_prove_nothing(rows: int) -> None:
    labels = np.zeros(rows)
    found = compare_log_loss(labels, np.full((1, rows), 0.1), np.full((1, rows), 0.9))
    assert found.delta < 0 and np.isnan([found.low, found.high, found.p]).all()


def test_holm_leaves_out_what_was_not_tested() -> None:
    np.testing.assert_array_equal(holm_adjust([0.01, NAN, 0.04]), [0.02, NAN, 0.04])
    assert np.isnan(holm_adjust([NAN])).all() and len(holm_adjust([])) == 0
