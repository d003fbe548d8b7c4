"""Slices against scikit-learn on hand-picked rows."""

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from core.evaluation.delong import compare
from core.evaluation.multiplicity import holm
from core.evaluation.slices import MISSING, REST, slice_differences, slice_metrics, slices_of


def world() -> tuple[list[str | None], np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    drawn = generator.choice(5, 1000, p=[0.4, 0.3, 0.2, 0.08, 0.02])
    values: list[str | None] = [["a", "b", "c", None, "rare"][place] for place in drawn]
    a = generator.random(1000)
    labels = (generator.random(1000) < a).astype(float)
    b = a.copy()
    in_b = np.array([value == "b" for value in values])
    b[in_b] = generator.random(in_b.sum())
    return values, labels, a, b


def test_slices_are_the_most_frequent_values_and_cover_every_row_once() -> None:
    values, *_ = world()
    slices = slices_of(values, top=2)
    assert [one.name for one in slices] == ["a", "b", MISSING, REST]
    assert sorted(np.concatenate([one.rows for one in slices])) == list(range(1000))
    assert all(values[row] == "b" for row in slices[1].rows)
    assert {values[row] for row in slices[3].rows} == {"c", "rare"}


def test_a_value_called_missing_is_not_the_missing_ones() -> None:
    slices = slices_of(["missing"] * 40 + [None] * 35)
    assert [(one.name, len(one.rows)) for one in slices] == [("missing", 40), (MISSING, 35)]


def test_metrics_equal_scikit_learns() -> None:
    values, labels, a, _ = world()
    for one, metrics in zip(slices_of(values), slice_metrics(labels, a, slices_of(values)), strict=True):
        y, p = labels[one.rows], a[one.rows]
        assert metrics.auc == pytest.approx(roc_auc_score(y, p))
        assert metrics.auc_low <= metrics.auc <= metrics.auc_high
        assert metrics.log_loss == pytest.approx(log_loss(y, p))
        assert metrics.predicted_over_actual == pytest.approx(p.sum() / y.sum())


def test_the_slice_where_strategies_differ_comes_first_with_adjusted_p() -> None:
    values, labels, a, b = world()
    slices = slices_of(values)
    found = slice_differences(labels, a, b, slices)
    assert found[0].name == "b" and found[0].adjusted_p < 0.01
    by_name = {one.name: one for one in slices}
    rows = [by_name[one.name].rows for one in found]
    p = [compare(labels[own], a[own], b[own]).p for own in rows]
    np.testing.assert_allclose([one.adjusted_p for one in found], holm(p))
    assert all(one.difference.delta == 0 for one in found[1:])


def test_a_slice_of_one_class_has_no_auc_and_no_verdict() -> None:
    labels = np.array([0.0] * 40 + [0.0, 1.0] * 20)
    scores = np.linspace(0.1, 0.9, 80)
    slices = slices_of(["x"] * 40 + ["y"] * 40)
    assert np.isnan(slice_metrics(labels, scores, slices)[0].auc)
    assert [one.name for one in slice_differences(labels, scores, scores[::-1], slices)] == ["y"]
