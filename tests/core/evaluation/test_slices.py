"""Metrics by slice compared with scikit-learn on the rows of each slice."""

import numpy as np
import pytest
from scipy import stats
from scipy.stats import t as student
from sklearn.metrics import log_loss, roc_auc_score

from core.evaluation.multiplicity import holm_adjust
from core.evaluation.paired_comparison import compare_auc
from core.evaluation.roc_auc import auc_interval, auc_variance
from core.evaluation.slices import (
    MISSING_VALUES,
    OTHER_VALUES,
    slice_differences,
    slice_metrics,
    slices_by_value,
)


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
    slices = slices_by_value(values, top=2)
    assert [one.name for one in slices] == ["a", "b", MISSING_VALUES, OTHER_VALUES]
    assert sorted(np.concatenate([one.rows for one in slices])) == list(range(1000))
    assert all(values[row] == "b" for row in slices[1].rows)
    assert {values[row] for row in slices[3].rows} == {"c", "rare"}


def test_a_value_called_missing_is_not_the_missing_ones() -> None:
    slices = slices_by_value(["missing"] * 40 + [None] * 35)
    assert [(one.name, len(one.rows)) for one in slices] == [("missing", 40), (MISSING_VALUES, 35)]


def test_metrics_of_one_seed_equal_scikit_learns() -> None:
    values, labels, a, _ = world()
    for one, metrics in zip(
        slices_by_value(values),
        slice_metrics(labels, a[None], slices_by_value(values)),
        strict=True,
    ):
        y, p = labels[one.rows], a[one.rows]
        assert metrics.auc.value == pytest.approx(roc_auc_score(y, p))
        assert (metrics.auc.low, metrics.auc.high) == pytest.approx(
            auc_interval(*auc_variance(y, p))
        )
        losses = [
            log_loss([label], [score], labels=[0, 1]) for label, score in zip(y, p, strict=True)
        ]
        half = stats.t.ppf(0.975, len(y) - 1) * np.std(losses, ddof=1) / len(y) ** 0.5
        assert metrics.log_loss.value == pytest.approx(log_loss(y, p))
        assert metrics.log_loss.high - metrics.log_loss.value == pytest.approx(half, rel=1e-5)
        assert metrics.predicted_over_actual == pytest.approx(p.sum() / y.sum())


def test_several_seeds_are_averaged_and_widen_the_interval() -> None:
    values, labels, a, _ = world()
    noisy = a + np.random.default_rng(1).normal(0, 0.4, (4, len(a)))
    noisy = 1 / (1 + np.exp(-4 * (noisy - 0.5)))
    slices = slices_by_value(values)
    for one, metrics in zip(slices, slice_metrics(labels, noisy, slices), strict=True):
        each = [roc_auc_score(labels[one.rows], own[one.rows]) for own in noisy]
        assert metrics.auc.value == pytest.approx(np.mean(each))
        # Wider than the seeds' part alone; no wider than the seeds' part by Student's t with 3
        # degrees of freedom and the mean of the rows' parts together.
        width = metrics.auc.high - metrics.auc.low
        of_seeds = 2 * np.std(each, ddof=1) / len(each) ** 0.5
        of_rows = np.mean(
            [np.diff(auc_interval(*auc_variance(labels[one.rows], own[one.rows]))) for own in noisy]
        )
        assert (
            1.96 * of_seeds
            < width
            < student.ppf(0.975, 3) * of_seeds + student.ppf(0.975, 3) / 1.96 * of_rows
        )


def test_the_slice_where_arms_differ_comes_first_adjusted_over_slices_and_arms() -> None:
    values, labels, a, b = world()
    slices = slices_by_value(values)
    scores = {"a": np.stack([a, a]), "b": np.stack([b, b]), "same": np.stack([a, a])}
    found = slice_differences(labels, scores, "a", slices)
    assert (found[0].name, found[0].arm, found[0].outcome) == ("b", "b", "worse")
    by_name = {one.name: one.rows for one in slices}
    p = [
        compare_auc(
            labels[by_name[one.name]], *(scores[k][:, by_name[one.name]] for k in (one.arm, "a"))
        ).p
        for one in found
    ]
    assert len(found) == 2 * len(slices)
    np.testing.assert_allclose([one.adjusted_p for one in found], holm_adjust(p))
    assert all(
        one.difference.delta == 0 and one.outcome == "not distinguishable" for one in found[1:]
    )


def test_a_large_noisy_difference_is_listed_after_a_small_significant_one() -> None:
    generator = np.random.default_rng(5)
    labels = (generator.random(20_040) < 0.5).astype(float)
    signal = labels + generator.normal(0, 1, len(labels))
    a = 1 / (1 + np.exp(-signal))
    b = 1 / (1 + np.exp(-(signal + generator.normal(0, 0.5, len(labels)))))
    b[-40:] = 1 / (1 + np.exp(-(signal[-40:] + generator.normal(0, 1, 40))))
    slices = slices_by_value(["many"] * 20_000 + ["few"] * 40)
    found = slice_differences(labels, {"b": b[None], "a": a[None]}, "a", slices)
    assert abs(found[1].difference.delta) > abs(found[0].difference.delta)
    assert [(one.name, one.outcome) for one in found] == [
        ("many", "worse"),
        ("few", "not distinguishable"),
    ]


def test_a_slice_of_one_class_has_no_auc_and_no_verdict() -> None:
    labels = np.array([0.0] * 40 + [0.0, 1.0] * 20)
    scores = np.linspace(0.1, 0.9, 80)[None]
    slices = slices_by_value(["x"] * 40 + ["y"] * 40)
    assert np.isnan(slice_metrics(labels, scores, slices)[0].auc.value)
    found = slice_differences(labels, {"up": scores, "down": scores[:, ::-1]}, "up", slices)
    assert [one.name for one in found] == ["y"]
